"""Concurrent compare-and-swap writes, deletions and reads: their answers are those of some order of one after the other."""

import asyncio
import math
import random
import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kobune.controlplane.store.contract import Conflict, Full, Store, Unavailable
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.controlplane.store.sqlite_log import Row, SqliteLog
from kobune.host.etcd_members import answering

LONG = pytest.param(60, marks=pytest.mark.slow)


@pytest.mark.parametrize("rounds", [3, LONG])
async def test_memory(rounds: int) -> None:
    for seed in range(rounds):
        await check(await record([MemoryStore()], seed))


@pytest.mark.parametrize("rounds", [3, LONG])
async def test_sqlite(rounds: int, tmp_path: Path) -> None:
    for seed in range(rounds):
        store = await SqliteStore.open(tmp_path / f"{seed}.db")
        await check(await record([store], seed))
        await store.close()


@pytest.mark.parametrize("rounds", [3, LONG])
async def test_sqlite_on_a_disk_that_is_full_now_and_then(rounds: int, tmp_path: Path) -> None:
    for seed in range(rounds):
        log = OftenFull(tmp_path / f"{seed}.db", random.Random(seed))
        store = SqliteStore(log, *log.index(), log.compacted())
        operations = await record([store], seed)
        assert any(not operation.is_certain for operation in operations)
        await check(operations)
        log.share = 0.0
        await store.close()


@pytest.mark.etcd
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
async def test_etcd_through_two_clients(rounds: int, etcd: str) -> None:
    for seed in range(rounds):
        root = f"/{uuid.uuid4().hex}"
        stores = [EtcdStore([etcd], root=root) for _ in range(2)]
        await check(await record(stores, seed))
        for store in stores:
            await store.close()


@pytest.mark.etcd
@pytest.mark.slow
async def test_etcd_whose_members_are_killed_and_hang(members: Any) -> None:
    """The unknown outcomes of writes are among what is judged: done at some time, or never."""
    dice, stop = random.Random(3), asyncio.Event()
    probe = EtcdStore(members.endpoints, tls=members.tls)
    await answering(probe)

    async def disturb() -> None:
        while not stop.is_set():
            name = dice.choice(members.names)
            if dice.random() < 0.5:
                members.kill(name)
                await asyncio.sleep(dice.uniform(0.0, 0.5))
                members.start(name)
            else:
                members.signal(name, signal.SIGSTOP)
                await asyncio.sleep(dice.uniform(0.2, 2.0))
                members.signal(name, signal.SIGCONT)
            alone = EtcdStore([f"https://{members.clients[name]}"], tls=members.tls)
            await answering(alone)
            await alone.close()

    async with asyncio.timeout(110), asyncio.TaskGroup() as tasks:
        tasks.create_task(disturb())
        for seed in range(10):
            stores = [EtcdStore(members.endpoints, tls=members.tls, root=f"/{seed}") for _ in range(2)]
            await check(await record(stores, seed))
            for store in stores:
                await store.close()
        stop.set()
    await probe.close()


class OftenFull(SqliteLog):
    """A file on a disk that has no room for a share of all commits."""

    share = 0.2

    def __init__(self, path: Path, dice: random.Random) -> None:
        super().__init__(path)
        self._dice = dice

    def append(self, rows: Sequence[Row]) -> None:
        if self._dice.random() < self.share:
            raise Full("no space is left")
        super().append(rows)


Revision = int | None  # None: not known, as after a write whose answer was lost.
State = tuple[bytes, Revision] | None  # What is under one key; None: nothing.


@dataclass(frozen=True)
class Operation:
    """Of one key; times on one clock. `end` is infinite when no answer came: it may have been done at any time, or never."""

    key: str
    kind: str  # "read", "write", "delete".
    start: float
    end: float
    value: bytes = b""  # Written.
    expected: int | None = None
    found: State = None  # Read.
    refused: bool = False  # Answered with a conflict.
    revision: Revision = None  # Answered.

    @property
    def is_certain(self) -> bool:
        return self.end != math.inf

    def applied(self, state: State) -> tuple[bool, State]:
        """Whether its answer is right in this state, and the state after it."""
        if self.kind == "read":
            # A value whose revision was not known is known by it now.
            same = state == self.found or (
                state is not None and self.found is not None and state == (self.found[0], None)
            )
            return same, self.found
        revision = state[1] if state else 0
        meets = self.expected is None or revision is None or revision == self.expected
        if self.kind == "delete" and state is None:
            meets = False
        if self.refused:
            return revision is None or not meets, state
        return meets, None if self.kind == "delete" else (self.value, self.revision)


def is_linearizable(operations: Sequence[Operation]) -> bool:
    """Is there one order in which these operations on one key could have been done one after the other?

    The search of Wing and Gong with Lowe's memory of states. Nothing is under the key at first.
    Source: G. Lowe, Testing for linearizability, 2017.
    """
    order = sorted(operations, key=lambda operation: operation.start)
    certain = sum(1 << index for index, operation in enumerate(order) if operation.is_certain)
    tried: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, None)]  # Which are done, as bits; the state then.
    while stack:
        done, state = stack.pop()
        if done & certain == certain:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        # Only what had begun before the first one that is not done had ended can be next.
        first_end = min(operation.end for index, operation in enumerate(order) if not done >> index & 1)
        for index, operation in enumerate(order):
            if operation.start > first_end:
                break
            if not done >> index & 1:
                is_right, after = operation.applied(state)
                if is_right:
                    stack.append((done | 1 << index, after))
    return False


async def record(stores: Sequence[Store], seed: int) -> list[Operation]:
    """What six clients, spread over the stores, did to three keys, and were answered."""
    operations: list[Operation] = []

    async def client(number: int) -> None:
        dice, store = random.Random(seed * 100 + number), stores[number % len(stores)]
        known: dict[str, int] = {}
        for step in range(40):
            key = f"/{dice.choice('abc')}"
            operations.append(await do(store, dice, key, known, b"%d.%d" % (number, step)))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.002)

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(client(number))
    return operations


async def do(store: Store, dice: random.Random, key: str, known: dict[str, int], value: bytes) -> Operation:
    """One operation of a client that remembers the revision it last saw of each key."""
    start, kind = time.monotonic(), dice.choices(("read", "write", "delete"), (4, 5, 1))[0]
    expected = None if dice.random() < 0.1 else known.get(key, 0)
    try:
        if kind == "read":
            entry = await store.read(key)
            known[key] = entry.revision if entry else 0
            found = (entry.value, entry.revision) if entry else None
            return Operation(key, kind, start, time.monotonic(), found=found)
        if kind == "write":
            durable = dice.random() < 0.7
            known[key] = revision = await store.write(key, value, expected=expected, durable=durable)
        else:
            revision = await store.delete(key, expected=expected)
            known[key] = 0
        return Operation(key, kind, start, time.monotonic(), value, expected, revision=revision)
    except Conflict as conflict:
        known[key] = conflict.current.revision if conflict.current else 0
        return Operation(key, kind, start, time.monotonic(), value, expected, refused=True)
    except Unavailable:
        return Operation(key, kind, start, math.inf, value, expected)


async def check(operations: Sequence[Operation]) -> None:
    by_key = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    for key, mine in by_key.items():
        assert is_linearizable(mine), f"{key}: {sorted(mine, key=lambda operation: operation.start)}"
    # What ended before another began has the smaller revision, whatever the keys.
    written = sorted((operation for operation in operations if operation.revision), key=lambda one: one.revision or 0)
    latest_start = 0.0
    for operation in written:
        assert operation.end >= latest_start
        latest_start = max(latest_start, operation.start)


def test_the_checker_finds_what_cannot_have_been() -> None:
    first = Operation("/a", "write", 0, 1, b"1", 0, revision=1)
    second = Operation("/a", "write", 2, 3, b"2", 1, revision=2)
    assert is_linearizable([first, second, Operation("/a", "read", 0.5, 2.5, found=(b"1", 1))])
    assert is_linearizable([first, second, Operation("/a", "read", 2.5, 4, found=(b"1", 1))])
    assert not is_linearizable([first, second, Operation("/a", "read", 3.5, 4, found=(b"1", 1))])
    assert not is_linearizable([first, second, Operation("/a", "write", 4, 5, b"3", 1, revision=3)])
    assert not is_linearizable([first, Operation("/a", "write", 4, 5, b"3", 1, refused=True)])
    lost = Operation("/a", "write", 2, math.inf, b"2", 1)
    assert is_linearizable([first, lost, Operation("/a", "read", 3, 4, found=(b"1", 1))])
    assert is_linearizable([first, lost, Operation("/a", "read", 3, 4, found=(b"2", 2))])
    assert not is_linearizable(
        [first, lost, Operation("/a", "read", 3, 4, found=(b"2", 2)), Operation("/a", "read", 5, 6, found=(b"1", 1))]
    )
