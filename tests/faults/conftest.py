"""What several tests with faults break: an etcd cluster of three members."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kobune.controlplane.store.etcd_calls import Tls
from kobune.controlplane.store.etcd_member import MemberTls, member_command
from kobune.host.pki import Authority


class Members:
    """Three members as processes of this test."""

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        authority = Authority.create("etcd", now)
        (folder / "ca.crt").write_bytes(authority.credential.certificate)
        certificate, key = authority.issue_peer("etcd", ["127.0.0.1"], now).write(folder, "etcd")
        self.tls = Tls(folder / "ca.crt", certificate, key)
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        ports = free_ports(6)
        self.names = ("a", "b", "c")
        self.clients = dict(zip(self.names, ports[:3], strict=True))
        self._peers = dict(zip(self.names, ports[3:], strict=True))
        self._member_tls = MemberTls(folder / "ca.crt", certificate, key)

    @property
    def endpoints(self) -> list[str]:
        return [f"https://{address}" for address in self.clients.values()]

    def start(self, *names: str) -> None:
        for name in names:
            command = member_command(
                name, self._folder / name, client=self.clients[name], peers=self._peers, tls=self._member_tls
            )
            with (self._folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(command, stderr=log)

    def kill(self, *names: str) -> None:
        for name in names:
            process = self._processes.pop(name)
            process.kill()
            process.wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    def kill_all(self) -> None:
        self.kill(*self._processes)


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    members = Members(tmp_path)
    members.start(*members.names)
    yield members
    members.kill_all()
