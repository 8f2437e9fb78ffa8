"""Concurrent compare-and-swap writes, deletions and reads: their answers are those of some order of one after the other."""

import asyncio
import itertools
import math
import random
import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.errors import ServiceUnavailable
from kobune.client.transport import Transport
from kobune.controlplane.store.contract import Conflict, Entry, Full, Unavailable
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.controlplane.store.sqlite_log import Row, SqliteLog
from kobune.host.etcd_members import answering

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
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
            member = dice.choice(members.all)
            if dice.random() < 0.5:
                member.kill()
                await asyncio.sleep(dice.uniform(0.0, 0.5))
                member.start()
            else:
                member.signal(signal.SIGSTOP)
                await asyncio.sleep(dice.uniform(0.2, 2.0))
                member.signal(signal.SIGCONT)
            await member.is_back()

    async with asyncio.timeout(110), asyncio.TaskGroup() as tasks:
        tasks.create_task(disturb())
        for seed in range(10):
            stores = [EtcdStore(members.endpoints, tls=members.tls, root=f"/{seed}") for _ in range(2)]
            await check(await record(stores, seed))
            for store in stores:
                await store.close()
        stop.set()
    await probe.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_an_api_server_on_the_embedded_engine_that_is_killed(
    tmp_path: Path, start_api_server: Callable[..., Any]
) -> None:
    server = start_api_server("--store", f"sqlite:{tmp_path}/state.db")
    await judge_killed([server], [server])


@pytest.mark.etcd
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_api_servers_and_members_of_etcd_that_are_killed(
    members: Any, start_api_server: Callable[..., Any]
) -> None:
    servers = [start_api_server(*members.flags) for _ in range(2)]
    await judge_killed(servers, [*servers, *members.all])


async def judge_killed(servers: Sequence[Any], processes: Sequence[Any]) -> None:
    """Histories of requests over HTTPS while one process after the other is killed, twenty in all."""
    dice, kills = random.Random(5), list[float]()
    stores = [ConfigMaps(await server.ready(), kills) for server in servers]

    async def disturb() -> None:
        while True:
            await asyncio.sleep(dice.uniform(0.0, 0.4))
            process = dice.choice(processes)
            process.kill()
            kills.append(time.monotonic())
            process.start()
            await process.is_back()

    async with asyncio.timeout(300), asyncio.TaskGroup() as tasks:
        killing = tasks.create_task(disturb())
        for seed in itertools.count():
            keys = [f"{key}-{seed}" for key in "abc"]
            await check(await record(stores, seed, keys, blind=0.0, pause=0.2))
            if len(kills) >= 20:
                break
        killing.cancel()
    for store in stores:
        await store.client.close()


class ConfigMaps:
    """An API server as a store: an entry is a ConfigMap, and its revision the resourceVersion."""

    def __init__(self, client: Transport, kills: Sequence[float]) -> None:
        self.client, self._kills = client, kills

    async def read(self, key: str) -> Entry | None:
        try:
            found = await self._request("GET", key)
        except Conflict:
            return None
        return Entry(key, found["data"]["value"].encode(), int(found["metadata"]["resourceVersion"]))

    async def write(self, key: str, value: bytes, *, expected: int, durable: bool) -> int:
        del durable  # Nothing else is offered to clients.
        metadata = {"name": key, "resourceVersion": str(expected)} if expected else {"name": key}
        body = {"metadata": metadata, "data": {"value": value.decode()}}
        done = await self._request("PUT" if expected else "POST", key if expected else "", body)
        return int(done["metadata"]["resourceVersion"])

    async def delete(self, key: str, *, expected: int) -> int:
        await self._request("DELETE", key, {"preconditions": {"resourceVersion": str(expected)}})
        return 0  # The answer does not say.

    async def _request(self, method: str, key: str, body: Any = None) -> Any:
        """The answer. Raises Conflict for 404 and 409, and Unavailable when it is not known whether it was done."""
        began, data = time.monotonic(), orjson.dumps(body) if body else b""
        try:
            status, answer = await self._ask(method, key, data)
        except Unavailable:
            # Clients that go on at once would leave so many unknown outcomes that nothing could be told from the rest.
            await answering(self)
            raise
        if status < 300:
            return answer
        assert status in (404, 409), answer
        if method != "GET" and any(kill >= began for kill in self._kills):
            # An HTTP client asks again when a connection breaks, and may then be refused because of its own write.
            raise Unavailable("perhaps done at the first attempt")
        raise Conflict(key, None)

    async def revision(self) -> int:
        _, listing = await self._ask("GET", "")
        return int(listing["metadata"]["resourceVersion"])

    async def _ask(self, method: str, key: str, data: bytes = b"") -> tuple[int, Any]:
        try:
            answer = await self.client.request(method, f"{CONFIG_MAPS}/{key}".rstrip("/"), body=data)
        except ServiceUnavailable as error:
            raise Unavailable(str(error)) from error
        if answer.status >= 500:
            raise Unavailable(answer.body.decode())
        return answer.status, orjson.loads(answer.body)


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


async def record(
    stores: Sequence[Any],
    seed: int,
    keys: Sequence[str] = ("/a", "/b", "/c"),
    *,
    blind: float = 0.1,
    pause: float = 0.002,
) -> list[Operation]:
    """What six clients, spread over the stores, did to the keys, and were answered.

    A share of their writes, `blind`, is done whatever is there; now and then they pause, for so many seconds at most.
    """
    operations: list[Operation] = []

    async def client(number: int) -> None:
        dice, store = random.Random(seed * 100 + number), stores[number % len(stores)]
        known: dict[str, int] = {}
        for step in range(40):
            key = dice.choice(keys)
            expected = None if dice.random() < blind else known.get(key, 0)
            operation = await do(store, dice, key, expected, known, b"%d.%d" % (number, step))
            if operation.is_certain or operation.kind != "read":
                operations.append(operation)
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * pause)

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(client(number))
    return operations


async def do(
    store: Any, dice: random.Random, key: str, expected: int | None, known: dict[str, int], value: bytes
) -> Operation:
    """One operation of a client that remembers the revision it last saw of each key."""
    start, kind = time.monotonic(), dice.choices(("read", "write", "delete"), (4, 5, 1))[0]
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
