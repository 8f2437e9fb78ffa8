"""What several tests with faults break, API servers and an etcd cluster of three members; and the figures they report."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kobune.api.errors import ServiceUnavailable
from kobune.client.kubeconfig import load_kubeconfig
from kobune.client.transport import Transport
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.etcd_calls import Tls
from kobune.controlplane.store.etcd_member import MemberTls, member_command
from kobune.host.etcd_members import answering
from kobune.host.pki import Authority


class ApiServer:
    """`kobune kube-apiserver` as a process."""

    def __init__(self, folder: Path, *flags: str) -> None:
        [address] = free_ports(1)
        host, _, port = address.partition(":")
        self.kubeconfig = folder / "pki" / "admin.kubeconfig"
        self._log = folder / "log"
        self._command = [
            sys.executable, "-m", "kobune", "kube-apiserver", "--bind-address", host, "--secure-port", port,
            "--cert-dir", str(folder / "pki"), *flags,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def client(self) -> Transport:
        """One with connections of its own."""
        return load_kubeconfig(self.kubeconfig, user_agent="test")

    async def ready(self) -> Transport:
        """A client, once the server answers."""
        async with asyncio.timeout(60):
            while not self.kubeconfig.exists():
                await asyncio.sleep(0.05)
            client = self.client()
            while True:
                try:
                    if (await client.request("GET", "/readyz")).status == 200:
                        return client
                except ServiceUnavailable:
                    pass
                await asyncio.sleep(0.02)

    async def is_back(self) -> None:
        await (await self.ready()).close()

    def kilobytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


class Member:
    """One of etcd's members as a process."""

    def __init__(self, address: str, command: list[str], log: Path, tls: Tls) -> None:
        self.address = address
        self._command, self._log, self._tls = command, log, tls
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stderr=log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def is_back(self) -> None:
        """Return when it answers: of three only one may be missing."""
        alone = EtcdStore([f"https://{self.address}"], tls=self._tls)
        await answering(alone)
        await alone.close()


class Members:
    """Three of them."""

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        authority = Authority.create("etcd", now)
        (folder / "ca.crt").write_bytes(authority.credential.certificate)
        certificate, key = authority.issue_peer("etcd", ["127.0.0.1"], now).write(folder, "etcd")
        self.tls = Tls(folder / "ca.crt", certificate, key)
        member_tls, ports, names = MemberTls(folder / "ca.crt", certificate, key), free_ports(6), ("a", "b", "c")
        peers = dict(zip(names, ports[3:], strict=True))
        self.all = [
            Member(
                client,
                list(member_command(name, folder / name, client=client, peers=peers, tls=member_tls)),
                folder / f"{name}.log",
                self.tls,
            )
            for name, client in zip(names, ports[:3], strict=True)
        ]

    @property
    def endpoints(self) -> list[str]:
        return [f"https://{member.address}" for member in self.all]

    @property
    def flags(self) -> list[str]:
        """For an API server that keeps its state here."""
        return [
            f"--etcd-servers={','.join(self.endpoints)}",
            f"--etcd-cafile={self.tls.authority}",
            f"--etcd-certfile={self.tls.certificate}",
            f"--etcd-keyfile={self.tls.key}",
        ]


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    members = Members(tmp_path)
    yield members
    for member in members.all:
        member.kill()


@pytest.fixture
def start_api_server(tmp_path: Path) -> Iterator[Callable[..., ApiServer]]:
    """start_api_server(*flags): another one, killed when the test ends."""
    started: list[ApiServer] = []

    def start(*flags: str) -> ApiServer:
        folder = tmp_path / f"api-server-{len(started)}"
        folder.mkdir()
        started.append(ApiServer(folder, *flags))
        return started[-1]

    yield start
    for server in started:
        server.kill()


FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """report(sentence): it is shown when all tests have run."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for figure in config.stash.get(FIGURES, []):
        terminalreporter.write_line(figure)
