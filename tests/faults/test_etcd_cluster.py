"""Three etcd members with certificates: what clients see when members die and come back."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.store.contract import Change, Entry, Store, Unavailable
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.etcd_calls import Tls
from kobune.controlplane.store.etcd_member import MemberTls, member_command
from kobune.controlplane.store.feed import Feed
from kobune.host.pki import Authority

pytestmark = [pytest.mark.etcd]


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


async def count_up(store: Store, key: str, count: int, acknowledged: list[int]) -> None:
    """Write 1 to `count` under one key; a write of which it is not known whether it was done is looked up."""
    revision = 0
    for number in range(1, count + 1):
        while True:
            try:
                revision = await store.write(key, b"%d" % number, expected=revision)
                break
            except Unavailable:
                entry = await read_when_possible(store, key)
                if entry is not None and entry.value == b"%d" % number:
                    revision = entry.revision
                    break
        acknowledged.append(revision)
        await asyncio.sleep(0.01)


async def read_when_possible(store: Store, key: str) -> Entry | None:
    while True:
        try:
            return await store.read(key)
        except Unavailable:
            await asyncio.sleep(0.1)


async def follow(store: Store, seen: list[Change]) -> None:
    async for batch in store.watch("/counters/", after=0):
        seen.extend(batch)


async def ready(store: Store) -> None:
    """Return once there is a leader."""
    async with asyncio.timeout(30):
        await read_when_possible(store, "/")


async def test_the_loss_of_each_member_in_turn_is_not_noticed(members: Members) -> None:
    store, acknowledged, seen = EtcdStore(members.endpoints, tls=members.tls), list[list[int]](), list[Change]()
    await ready(store)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(store, seen))
        acknowledged = [[] for _ in range(4)]
        counters = [
            tasks.create_task(count_up(store, f"/counters/{number}", 150, mine))
            for number, mine in enumerate(acknowledged)
        ]
        for name in members.names[:2]:
            await asyncio.sleep(0.3)
            members.kill(name)
            await asyncio.sleep(0.7)
            members.start(name)
            await asyncio.sleep(1.5)  # Until it has caught up; only one may be missing.
        await asyncio.gather(*counters)
        while len(seen) < 600:
            await asyncio.sleep(0.05)
        following.cancel()
    revisions = [change.revision for change in seen]
    assert revisions == sorted(set(revisions)), "no event twice or out of order"
    assert set(revisions) == {revision for mine in acknowledged for revision in mine}
    for number in range(4):
        values = [change.value for change in seen if change.key == f"/counters/{number}"]
        assert values == [b"%d" % value for value in range(1, 151)]
    await store.close()


@pytest.mark.slow
async def test_without_a_majority_writes_fail_and_with_it_everything_goes_on(members: Members) -> None:
    store = EtcdStore(members.endpoints, tls=members.tls)
    await ready(store)
    first = await store.write("/registry/pods/default/a", b'{"metadata":{"name":"a"}}', expected=0)
    feed = Feed(store, SystemClock())
    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed.run())
        cache = await feed.open("/registry/pods/")
        members.kill("a", "b")
        with pytest.raises(Unavailable):
            await store.write("/registry/pods/default/b", b"{}", expected=0)
        item = cache.get("default", "a")
        assert item is not None
        assert item.revision == first
        members.start("a", "b")
        await ready(store)
        entry = await store.read("/registry/pods/default/b")
        expected = entry.revision if entry else 0
        await store.write("/registry/pods/default/b", b'{"metadata":{"name":"b"}}', expected=expected)
        await feed.caught_up()
        assert [item.name for item in cache.list()] == ["a", "b"]
        feeding.cancel()
    await store.close()


@pytest.mark.slow
async def test_a_client_without_a_certificate_is_not_served(members: Members) -> None:
    store = EtcdStore(members.endpoints, tls=members.tls)
    await ready(store)
    await store.close()
    stranger = EtcdStore(members.endpoints[:1], tls=Tls(members.tls.authority))
    with pytest.raises(Unavailable):
        await stranger.write("/a", b"", expected=0)
    await stranger.close()
