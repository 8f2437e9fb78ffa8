"""Three etcd members with certificates: what clients see when members die and come back."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.store.contract import Change, Conflict, Entry, Store, Unavailable
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.etcd_calls import Tls
from kobune.controlplane.store.feed import Feed

pytestmark = [pytest.mark.etcd]


async def count_up(store: Store, key: str, acknowledged: list[int], stop: asyncio.Event) -> None:
    """Write 1, 2, 3, … under one key, note the revisions. A write of which it is not known whether it was done is looked up."""
    expected = 0
    while not stop.is_set():
        value = b"%d" % (len(acknowledged) + 1)
        revision = 0
        while not revision:
            try:
                revision = await store.write(key, value, expected=expected)
            except Conflict as conflict:
                if conflict.current is None or conflict.current.value != value:
                    raise
                revision = conflict.current.revision  # Nobody else writes here: it was done after all.
            except Unavailable:
                entry = await read_when_possible(store, key)
                if entry is not None and entry.value == value:
                    revision = entry.revision
        acknowledged.append(revision)
        expected = revision
        await asyncio.sleep(0.005)


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


@pytest.mark.parametrize("rounds", [2, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
async def test_whichever_member_is_killed_nothing_is_lost_or_doubled(members: Any, rounds: int) -> None:
    async def kill_and_start(member: Any, dice: random.Random) -> None:
        member.kill()
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        member.start()

    await disturbed(members, kill_and_start, rounds)


@pytest.mark.parametrize("rounds", [1, pytest.param(9, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
async def test_a_member_whose_disk_hangs_is_gone_without(members: Any, rounds: int) -> None:
    """A member that waits for its disk answers nobody and holds its connections: as one that is stopped."""

    async def hang(member: Any, dice: random.Random) -> None:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(dice.uniform(1.0, 6.0))
        member.signal(signal.SIGCONT)

    await disturbed(members, hang, rounds)


async def disturbed(members: Any, disturb: Callable[[Any, random.Random], Awaitable[None]], rounds: int) -> None:
    """Disturb one member after the other while four count and one watches: nothing is lost and nothing doubled."""
    dice, stop, seen = random.Random(rounds), asyncio.Event(), list[Change]()
    store = EtcdStore(members.endpoints, tls=members.tls)
    await ready(store)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(store, seen))
        acknowledged: list[list[int]] = [[] for _ in range(4)]
        counters = [
            tasks.create_task(count_up(store, f"/counters/{number}", mine, stop))
            for number, mine in enumerate(acknowledged)
        ]
        for _ in range(rounds):
            member = dice.choice(members.all)
            await asyncio.sleep(dice.uniform(0.0, 0.4))
            await disturb(member, dice)
            await member.is_back()
        async with asyncio.timeout(60):  # However slow the machine is, each has had its share.
            while not all(len(mine) > rounds for mine in acknowledged):
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*counters)
        async with asyncio.timeout(60):
            while len(seen) < sum(map(len, acknowledged)):
                await asyncio.sleep(0.05)
        following.cancel()
    revisions = [change.revision for change in seen]
    assert revisions == sorted(set(revisions)), "an event came twice or out of order"
    for number, mine in enumerate(acknowledged):
        changes = [change for change in seen if change.key == f"/counters/{number}"]
        assert [change.revision for change in changes] == mine
        assert [change.value for change in changes] == [b"%d" % (index + 1) for index in range(len(mine))]
    await store.close()


@pytest.mark.slow
async def test_without_a_majority_writes_fail_and_with_it_everything_goes_on(members: Any) -> None:
    store = EtcdStore(members.endpoints, tls=members.tls)
    await ready(store)
    first = await store.write("/registry/pods/default/a", b'{"metadata":{"name":"a"}}', expected=0)
    feed = Feed(store, SystemClock())
    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed.run())
        cache = await feed.open("/registry/pods/")
        for member in members.all[:2]:
            member.kill()
        with pytest.raises(Unavailable):
            await store.write("/registry/pods/default/b", b"{}", expected=0)
        item = cache.get("default", "a")
        assert item is not None
        assert item.revision == first
        for member in members.all[:2]:
            member.start()
        await ready(store)
        entry = await store.read("/registry/pods/default/b")
        expected = entry.revision if entry else 0
        await store.write("/registry/pods/default/b", b'{"metadata":{"name":"b"}}', expected=expected)
        await feed.caught_up()
        assert [item.name for item in cache.list()] == ["a", "b"]
        feeding.cancel()
    await store.close()


@pytest.mark.slow
async def test_a_client_without_a_certificate_is_not_served(members: Any) -> None:
    store = EtcdStore(members.endpoints, tls=members.tls)
    await ready(store)
    await store.close()
    stranger = EtcdStore(members.endpoints[:1], tls=Tls(members.tls.authority))
    with pytest.raises(Unavailable):
        await stranger.write("/a", b"", expected=0)
    await stranger.close()
