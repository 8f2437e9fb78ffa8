"""What several tests with faults break, API servers and an etcd cluster of three members; the load, and the figures reported."""

import asyncio
import random
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.errors import ApiError, Gone, ServiceUnavailable
from kobune.client.kubeconfig import load_kubeconfig
from kobune.client.transport import Transport
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.etcd_calls import Tls
from kobune.controlplane.store.etcd_member import MemberTls, member_command
from kobune.host.etcd_members import answering
from kobune.host.pki import Authority

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


class ApiServer:
    """`kobune kube-apiserver` as a process.

    Args:
        address: "HOST:PORT"; without it a free port of the loopback interface.
        inside: put before the command, as what enters a network namespace or a cgroup.
    """

    def __init__(self, folder: Path, *flags: str, address: str = "", inside: Sequence[str] = ()) -> None:
        host, _, port = (address or free_ports(1)[0]).partition(":")
        self.kubeconfig = folder / "pki" / "admin.kubeconfig"
        self._log = folder / "log"
        self._command = [
            *inside, sys.executable, "-m", "kobune", "kube-apiserver", "--bind-address", host, "--secure-port", port,
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
            try:
                while not await is_ready(client):
                    await asyncio.sleep(0.02)
            except BaseException:
                await client.close()
                raise
            return client

    async def is_back(self) -> None:
        await (await self.ready()).close()

    def kilobytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


async def is_ready(client: Transport) -> bool:
    try:
        return (await client.request("GET", "/readyz")).status == 200
    except ServiceUnavailable:
        return False


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
    """Three of them.

    Args:
        clients, peers: "HOST:PORT" of each, where it serves clients, and the other members; without them free ports.
        inside: put before each one's command.
    """

    def __init__(
        self,
        folder: Path,
        clients: Sequence[str] = (),
        peers: Sequence[str] = (),
        inside: Sequence[Sequence[str]] = ((), (), ()),
    ) -> None:
        if not clients:
            free = free_ports(6)
            clients, peers = free[:3], free[3:]
        now, names = datetime.now(UTC), ("a", "b", "c")
        authority = Authority.create("etcd", now)
        (folder / "ca.crt").write_bytes(authority.credential.certificate)
        hosts = sorted({address.partition(":")[0] for address in clients})
        certificate, key = authority.issue_peer("etcd", hosts, now).write(folder, "etcd")
        self.tls = Tls(folder / "ca.crt", certificate, key)
        member_tls = MemberTls(folder / "ca.crt", certificate, key)
        among = dict(zip(names, peers, strict=True))
        self.all = [
            Member(
                client,
                [*before, *member_command(name, folder / name, client=client, peers=among, tls=member_tls)],
                folder / f"{name}.log",
                self.tls,
            )
            for name, client, before in zip(names, clients, inside, strict=True)
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


class Counters:
    """Clients of API servers that share one state: six count, one watches, one at each server reads. Each judges its answers.

    Attributes:
        answered, watched: by object and number, the resourceVersion under which that number was answered or watched.
        reached: by object, the last number that was answered.
        newest: the newest resourceVersion that was answered.
        expired: resourceVersions from which a watch could not go on, so that everything had to be listed anew.
    """

    def __init__(self, transports: Sequence[Transport], prefix: str) -> None:
        self.transports = transports
        self.names = [f"{prefix}-{number}" for number in range(6)]
        self.answered: dict[str, dict[int, int]] = {name: {} for name in self.names}
        self.reached: dict[str, int] = {}
        self.newest = 0
        self.watched: dict[str, dict[int, int]] = defaultdict(dict)
        self.expired: list[int] = []
        self.stop = asyncio.Event()
        self._prefix = prefix

    async def go_on(self, names: Sequence[str] = ()) -> float:
        """Return when each counter, or those named, has been answered twice more; the seconds that took.

        The first answer may be that of a request under way before.
        """
        began = time.monotonic()
        wanted = {name: len(self.answered[name]) + 2 for name in names or self.names}
        while any(len(self.answered[name]) < count for name, count in wanted.items()):
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def count_up(self, transport: Transport, name: str) -> None:
        """Count in an object's data until told to stop, but to ten."""
        number, url = 0, f"{CONFIG_MAPS}/{name}"
        made: Any = {"metadata": {"name": name}, "data": {"number": "0"}}
        status, obj = await until_answered(transport, "POST", CONFIG_MAPS, orjson.dumps(made))
        if status == 409:
            # Made by the request whose answer was lost.
            status, obj = await until_answered(transport, "GET", url)
        self._answered(name, number, obj)
        while number < 10 or not self.stop.is_set():
            number += 1
            wanted = orjson.dumps({**obj, "data": {"number": str(number)}})
            status, answer = await until_answered(transport, "PUT", url, wanted)
            if status == 409:
                status, answer = await until_answered(transport, "GET", url)
            # Nobody else writes it, so it is what was written last, by the request answered or by one whose answer was lost.
            assert answer["data"] == {"number": str(number)}, f"{name} should be at {number}"
            assert _revision(answer) > _revision(obj)
            self._answered(name, number, answer)
            obj = answer
            await asyncio.sleep(0.02)

    async def follow(self, transport: Transport) -> None:
        """Keep up with all counters by list and watch, resuming as clients do; none may go back or leave out a number."""
        numbers: dict[str, int] = {}
        newest, begins_anew = 0, True  # The newest resourceVersion seen.
        while True:
            try:
                if begins_anew:
                    _, listing = await until_answered(transport, "GET", CONFIG_MAPS)
                    assert _revision(listing) >= newest, "a list is older than what was watched before"
                    for name, number in self._numbers(listing).items():
                        assert number >= numbers.get(name, -1), "a list showed the past"
                        numbers[name] = number
                        self.watched[name].setdefault(number, 0)
                    newest, begins_anew = _revision(listing), False
                async for line in transport.stream(
                    CONFIG_MAPS, query={"watch": "true", "resourceVersion": str(newest)}
                ):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        assert event["object"]["code"] == 410, event
                        raise Gone(event["object"]["message"])
                    assert _revision(event["object"]) > newest, "resourceVersions went back"
                    newest = _revision(event["object"])
                    for name, number in self._numbers({"items": [event["object"]]}).items():
                        assert number == numbers.get(name, -1) + 1, "a watch left out a change or repeated one"
                        numbers[name] = number
                        self.watched[name][number] = newest
            except Gone:
                self.expired.append(newest)
                begins_anew = True
            except ApiError:
                await asyncio.sleep(0.05)

    async def read(self, transport: Transport, dice: random.Random) -> None:
        """Get one or list all, again and again: what is answered is no older than anything answered before, to whomever."""
        while True:
            name, known, newest = dice.choice(self.names), dict(self.reached), self.newest
            alone = name in known and dice.random() < 0.7
            try:
                answer = await transport.request("GET", f"{CONFIG_MAPS}/{name}" if alone else CONFIG_MAPS)
            except ServiceUnavailable:
                continue
            finally:
                await asyncio.sleep(0.1)
            if answer.status < 500:
                assert answer.status == 200, f"{name} was there before"
                found = orjson.loads(answer.body)
                numbers = self._numbers({"items": [found]} if alone else found)
                for one in {name} if alone else known:
                    assert numbers.get(one, -1) >= known[one], "a read showed the past"
                if not alone:
                    assert _revision(found) >= newest, "resourceVersions went back"
                    self.newest = max(self.newest, _revision(found))

    async def judge(self) -> None:
        """What was answered is there, whichever server is asked, and was watched once, as it was answered."""
        for transport in self.transports:
            _, listing = await until_answered(transport, "GET", CONFIG_MAPS)
            assert self._numbers(listing) == self.reached
        revisions = [revision for mine in self.answered.values() for revision in mine.values()]
        assert len(set(revisions)) == len(revisions)
        for name, mine in self.answered.items():
            assert list(mine) == list(range(len(mine)))
            for number, revision in self.watched[name].items():
                assert revision in (0, mine[number]), "a watch showed a write that was not the one answered"

    def _answered(self, name: str, number: int, obj: Any) -> None:
        self.answered[name][number] = _revision(obj)
        self.reached[name] = number
        self.newest = max(self.newest, _revision(obj))

    def _numbers(self, listing: Any) -> dict[str, int]:
        """The number of each of our objects."""
        found = {item["metadata"]["name"]: int(item.get("data", {}).get("number", -1)) for item in listing["items"]}
        return {name: number for name, number in found.items() if name.startswith(f"{self._prefix}-")}


def _revision(obj: Any) -> int:
    return int(obj["metadata"]["resourceVersion"])


async def until_answered(transport: Transport, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    while True:
        try:
            answer = await transport.request(method, path, body=body)
        except ServiceUnavailable:
            await asyncio.sleep(0.05)
            continue
        if answer.status < 500:
            return answer.status, orjson.loads(answer.body)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _counting(servers: Sequence[ApiServer], prefix: str = "counter") -> AsyncIterator[Counters]:
    async with AsyncExitStack() as stack:
        transports = [await server.ready() for server in servers]
        for transport in transports:
            stack.push_async_callback(transport.close)
        counters = Counters(transports, prefix)
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(counters.follow(transports[-1]))]
            watching += [tasks.create_task(counters.read(one, random.Random(at))) for at, one in enumerate(transports)]
            writers = [
                tasks.create_task(counters.count_up(transports[number % len(transports)], name))
                for number, name in enumerate(counters.names)
            ]
            yield counters
            counters.stop.set()
            await asyncio.wait(writers)
            async with asyncio.timeout(20):
                while any(max(counters.watched[name], default=-1) < counters.reached[name] for name in counters.names):
                    await asyncio.sleep(0.05)
            for task in watching:
                task.cancel()
        await counters.judge()


@pytest.fixture
def counting() -> Callable[..., AbstractAsyncContextManager[Counters]]:
    """counting(servers): six count while the block runs, and everything they were answered is judged."""
    return _counting


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


@pytest.fixture
def start_members(tmp_path: Path) -> Iterator[Callable[..., Members]]:
    """start_members(…): three of them, killed when the test ends."""
    started: list[Members] = []

    def start(*addresses: Sequence[str], **where: Any) -> Members:
        started.append(Members(tmp_path, *addresses, **where))
        return started[-1]

    yield start
    for members in started:
        for member in members.all:
            member.kill()


@pytest.fixture
def members(start_members: Callable[..., Members]) -> Members:
    return start_members()


@pytest.fixture
def start_api_server(tmp_path: Path) -> Iterator[Callable[..., ApiServer]]:
    """start_api_server(*flags, …): another one, killed when the test ends."""
    started: list[ApiServer] = []

    def start(*flags: str, **where: Any) -> ApiServer:
        folder = tmp_path / f"api-server-{len(started)}"
        folder.mkdir()
        started.append(ApiServer(folder, *flags, **where))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where the long form of a test here runs, its short form is left out."""
    ours = [item for item in items if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent]
    long = {item.function for item in ours if item.get_closest_marker("slow")}
    short = [item for item in ours if item.function in long and not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=short)
    items[:] = [item for item in items if item not in short]


FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """report(sentence): it is shown when all tests have run."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for figure in config.stash.get(FIGURES, []):
        terminalreporter.write_line(figure)
