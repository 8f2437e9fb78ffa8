"""What every store engine promises, as written in kobune.controlplane.store.contract."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.controlplane.store.contract import Change, Closed, Compacted, Conflict, Entry, Page, Store
from kobune.controlplane.store.encrypted import EncryptedStore
from kobune.controlplane.store.encryption import Encryption
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.sealing import AesGcm, Provider, Sealer
from kobune.controlplane.store.sqlite import SqliteStore

Engine = Callable[[], AbstractAsyncContextManager[Store]]


class FromZero:
    """A store as if nothing had been written before: tests count revisions from 1, an etcd that others used does not."""

    def __init__(self, store: Store, base: int) -> None:
        self._store = store
        self._base = base

    async def revision(self) -> int:
        return await self._store.revision() - self._base

    async def members(self) -> Sequence[str]:
        return await self._store.members()

    async def read(self, key: str) -> Entry | None:
        return self._entry(await self._store.read(key))

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        at = revision and revision + self._base
        page = await self._store.list(prefix, after=after, limit=limit, revision=at)
        entries = [entry._replace(revision=entry.revision - self._base) for entry in page.entries]
        return Page(entries, page.revision - self._base, page.more)

    async def write(self, key: str, value: bytes, *, expected: int | None, durable: bool = True) -> int:
        try:
            return await self._store.write(key, value, expected=self._at(expected), durable=durable) - self._base
        except Conflict as conflict:
            raise Conflict(key, self._entry(conflict.current)) from conflict

    async def delete(self, key: str, *, expected: int | None) -> int:
        try:
            return await self._store.delete(key, expected=self._at(expected)) - self._base
        except Conflict as conflict:
            raise Conflict(key, self._entry(conflict.current)) from conflict

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        async with aclosing(self._store.watch(prefix, after=after + self._base)) as batches:
            async for batch in batches:
                yield [change._replace(revision=change.revision - self._base) for change in batch]

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision + self._base)

    async def close(self) -> None:
        await self._store.close()

    def _at(self, expected: int | None) -> int | None:
        return expected + self._base if expected else expected

    def _entry(self, entry: Entry | None) -> Entry | None:
        return entry and entry._replace(revision=entry.revision - self._base)


@asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    store = MemoryStore()
    yield store
    await store.close()


@asynccontextmanager
async def sqlite() -> AsyncIterator[Store]:
    with TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "state.db")
        yield store
        await store.close()


class Everything(Encryption):
    """Seals whatever the key."""

    def __init__(self) -> None:
        self._sealer = Sealer([Provider(b"k8s:enc:aesgcm:v1:key:", AesGcm(bytes(32)))])

    def sealer(self, key: str) -> Sealer:
        return self._sealer


@asynccontextmanager
async def encrypted() -> AsyncIterator[Store]:
    async with memory() as inner:
        yield EncryptedStore(inner, Everything())


@asynccontextmanager
async def etcd_at(endpoint: str, begins_after: int = 0) -> AsyncIterator[Store]:
    store = EtcdStore([endpoint], root=f"/{uuid.uuid4().hex}", begins_after=begins_after)
    yield FromZero(store, await store.revision())
    await store.close()


ETCD, MOVED = (pytest.param(name, marks=pytest.mark.etcd) for name in ("etcd", "etcd after another"))


@pytest.fixture(params=["memory", "sqlite", "encrypted", ETCD, MOVED], scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param.startswith("etcd"):
        return partial(etcd_at, request.getfixturevalue("etcd"), 0 if request.param == "etcd" else 1_000_000)
    return {"memory": memory, "sqlite": sqlite, "encrypted": encrypted}[request.param]


@pytest.fixture
async def store(engine: Engine) -> AsyncIterator[Store]:
    async with engine() as store:
        yield store


async def collect(store: Store, prefix: str, after: int, count: int) -> list[Change]:
    """The first `count` changes that a watch delivers."""
    changes: list[Change] = []
    async with asyncio.timeout(5), aclosing(store.watch(prefix, after=after)) as batches:
        async for batch in batches:
            assert batch, "a batch is never empty"
            changes += batch
            if len(changes) >= count:
                return changes
    raise AssertionError("a watch never ends by itself")


async def keys(store: Store, prefix: str, **how: object) -> Sequence[str]:
    return [entry.key for entry in (await store.list(prefix, **how)).entries]


# Writing


async def test_every_member_says_how_it_is(store: Store) -> None:
    assert set(await store.members()) == {""}


async def test_revisions_count_every_write_from_one(store: Store) -> None:
    assert await store.revision() == 0
    assert await store.write("/a", b"1", expected=0) == 1
    assert await store.write("/b", b"2", expected=None) == 2
    assert await store.write("/a", b"3", expected=1) == 3
    assert await store.delete("/b", expected=2) == 4
    assert await store.revision() == 4
    assert await store.read("/a") == Entry("/a", b"3", 3)
    assert await store.read("/b") is None


async def test_a_write_at_another_revision_conflicts_and_changes_nothing(store: Store) -> None:
    first = await store.write("/a", b"1", expected=0)
    for expected in (0, first + 1):
        with pytest.raises(Conflict) as caught:
            await store.write("/a", b"2", expected=expected)
        assert caught.value.current == Entry("/a", b"1", first)
    with pytest.raises(Conflict) as caught:
        await store.write("/missing", b"2", expected=first)
    assert caught.value.current is None
    assert await store.read("/a") == Entry("/a", b"1", first)
    assert await store.revision() == first


async def test_a_deletion_at_another_revision_or_of_nothing_conflicts(store: Store) -> None:
    first = await store.write("/a", b"1", expected=0)
    second = await store.write("/a", b"2", expected=first)
    with pytest.raises(Conflict):
        await store.delete("/a", expected=first)
    for expected in (None, 5):
        with pytest.raises(Conflict):
            await store.delete("/missing", expected=expected)
    assert await store.revision() == second
    await store.delete("/a", expected=None)
    with pytest.raises(Conflict):
        await store.delete("/a", expected=second)


async def test_a_key_can_be_made_again_after_its_deletion(store: Store) -> None:
    await store.write("/a", b"1", expected=0)
    await store.delete("/a", expected=None)
    assert await store.write("/a", b"2", expected=0) == 3
    assert await store.read("/a") == Entry("/a", b"2", 3)


async def test_of_racing_writers_exactly_one_wins(store: Store) -> None:
    await store.write("/a", b"0", expected=0)
    outcomes = await asyncio.gather(
        *(store.write("/a", b"%d" % number, expected=1) for number in range(20)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 19
    winner = next(number for number, outcome in enumerate(outcomes) if outcome == 2)
    assert await store.read("/a") == Entry("/a", b"%d" % winner, 2)


async def test_a_write_not_yet_durable_is_visible_at_once(store: Store) -> None:
    revision = await store.write("/a", b"1", expected=0, durable=False)
    assert await store.read("/a") == Entry("/a", b"1", revision)
    assert await keys(store, "/") == ["/a"]
    with pytest.raises(Conflict):
        await store.write("/a", b"2", expected=0)
    assert await store.write("/a", b"2", expected=revision) == revision + 1


async def test_values_are_opaque(store: Store) -> None:
    for number, value in enumerate((b"", bytes(range(256)), "é☃".encode(), b"x" * 2_000_000)):
        await store.write(f"/{number}", value, expected=0)
        entry = await store.read(f"/{number}")
        assert entry is not None
        assert entry.value == value


# Listing


async def test_a_list_is_in_key_order_and_shows_its_revision(store: Store) -> None:
    for key in ("/p/b", "/p/a", "/q/x", "/p/a/b", "/p/a-b", "/p/é"):
        await store.write(key, key.encode(), expected=0)
    page = await store.list("/p/")
    assert [entry.key for entry in page.entries] == ["/p/a", "/p/a-b", "/p/a/b", "/p/b", "/p/é"]
    assert page.entries[0] == Entry("/p/a", b"/p/a", 2)
    assert (page.revision, page.more) == (6, False)


async def test_a_prefix_is_taken_literally(store: Store) -> None:
    for key in ("/p_/a", "/px/a", "/p%/a", "/p*/a", "/P_/a"):
        await store.write(key, b"", expected=0)
    for prefix in ("/p_/", "/p%/", "/p*/"):
        assert await keys(store, prefix) == [f"{prefix}a"]


async def test_pages_follow_each_other(store: Store) -> None:
    for number in range(5):
        await store.write(f"/p/{number}", b"", expected=0)
    await store.write("/q/0", b"", expected=0)
    first = await store.list("/p/", limit=2)
    assert ([entry.key for entry in first.entries], first.more) == (["/p/0", "/p/1"], True)
    await store.delete("/p/2", expected=None)
    await store.write("/p/11", b"", expected=0)
    second = await store.list("/p/", after="/p/1", limit=2, revision=first.revision)
    assert ([entry.key for entry in second.entries], second.more) == (["/p/2", "/p/3"], True)
    assert second.revision == first.revision
    last = await store.list("/p/", after="/p/3", limit=2, revision=first.revision)
    assert ([entry.key for entry in last.entries], last.more) == (["/p/4"], False)
    assert await keys(store, "/p/", after="/p/1") == ["/p/11", "/p/3", "/p/4"]


async def test_the_past_can_be_listed(store: Store) -> None:
    await store.write("/a", b"1", expected=0)
    await store.write("/b", b"2", expected=0)
    await store.write("/a", b"3", expected=1)
    await store.delete("/b", expected=2)
    await store.write("/b", b"5", expected=0)
    states = [
        [(entry.key, entry.value) for entry in (await store.list("/", revision=at)).entries] for at in range(1, 6)
    ]
    assert states == [
        [("/a", b"1")],
        [("/a", b"1"), ("/b", b"2")],
        [("/a", b"3"), ("/b", b"2")],
        [("/a", b"3")],
        [("/a", b"3"), ("/b", b"5")],
    ]


# Watching


async def test_a_watch_begins_after_the_given_revision(store: Store) -> None:
    await store.write("/p/a", b"1", expected=0)
    await store.write("/p/b", b"2", expected=0)
    await store.write("/q/a", b"3", expected=0)
    await store.delete("/p/a", expected=1)
    assert await collect(store, "/p/", 0, 3) == [
        Change("/p/a", b"1", 1),
        Change("/p/b", b"2", 2),
        Change("/p/a", None, 4),
    ]
    assert await collect(store, "/p/", 2, 1) == [Change("/p/a", None, 4)]


async def test_a_watch_goes_on_with_what_is_written_later(store: Store) -> None:
    await store.write("/p/a", b"1", expected=0)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(collect(store, "/p/", 0, 4))
        later = tasks.create_task(collect(store, "/p/", 2, 2))
        await asyncio.sleep(0.01)
        await store.write("/p/a", b"2", expected=1)
        await store.write("/other", b"3", expected=0, durable=False)
        await store.delete("/p/a", expected=2)
        await store.write("/p/a", b"5", expected=0)
    assert [change.revision for change in watching.result()] == [1, 2, 4, 5]
    assert [change.revision for change in later.result()] == [4, 5]


async def test_a_watch_misses_and_repeats_nothing_while_many_write(store: Store) -> None:
    async def write(worker: int) -> None:
        for number in range(25):
            await store.write(f"/p/{worker}/{number}", b"", expected=0, durable=number % 2 == 0)

    async with asyncio.TaskGroup() as tasks:
        early = tasks.create_task(collect(store, "/p/", 0, 200))
        writers = [tasks.create_task(write(worker)) for worker in range(8)]
        await writers[0]
        late = tasks.create_task(collect(store, "/p/", 0, 200))
    assert [change.revision for change in early.result()] == list(range(1, 201))
    assert early.result() == late.result()


@pytest.mark.parametrize("embedded", [memory, sqlite])
async def test_embedded_engines_deliver_a_change_before_its_writer_goes_on(embedded: Engine) -> None:
    async with embedded() as store:
        seen: list[int] = []

        async def watch() -> None:
            async for batch in store.watch("/", after=0):
                seen.extend(change.revision for change in batch)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.01)
        for number in range(5):
            revision = await store.write(f"/{number}", b"", expected=0, durable=number % 2 == 0)
            await asyncio.sleep(0)
            assert seen[-1] == revision
        watching.cancel()


# Compacting


async def test_compacted_history_is_refused_and_the_rest_stays(store: Store) -> None:
    await store.write("/a", b"1", expected=0)
    await store.write("/a", b"2", expected=1)
    await store.write("/b", b"3", expected=0)
    await store.delete("/b", expected=3)
    await store.write("/c", b"5", expected=0)
    await store.compact(4)
    for revision in (1, 3):
        with pytest.raises(Compacted):
            await store.list("/", revision=revision)
        with pytest.raises(Compacted):
            await collect(store, "/", revision, 1)
    assert await keys(store, "/", revision=4) == ["/a"]
    assert await keys(store, "/") == ["/a", "/c"]
    assert await collect(store, "/", 4, 1) == [Change("/c", b"5", 5)]
    assert await store.read("/a") == Entry("/a", b"2", 2)
    assert await store.write("/b", b"6", expected=0) == 6


async def test_compacting_the_future_or_the_past_again_is_harmless(store: Store) -> None:
    await store.compact(7)
    await store.write("/a", b"1", expected=0)
    await store.compact(100)
    await store.compact(1)
    await store.compact(0)
    assert await keys(store, "/", revision=1) == ["/a"]
    assert await store.write("/a", b"2", expected=1) == 2
    assert await collect(store, "/", 1, 1) == [Change("/a", b"2", 2)]


# Closing


async def test_a_closed_store_refuses_everything(store: Store) -> None:
    watching = asyncio.create_task(collect(store, "/", 0, 1))
    await asyncio.sleep(0.01)
    await store.close()
    with pytest.raises(Closed):
        await watching
    for call in (
        store.revision(),
        store.read("/a"),
        store.list("/"),
        store.write("/a", b"", expected=0),
        store.delete("/a", expected=None),
        store.compact(1),
        collect(store, "/", 0, 1),
    ):
        with pytest.raises(Closed):
            await call
    await store.close()


# Agreement

Operation = tuple[str, str, bytes, int | None]

operations = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "delete", "compact"]),
        st.sampled_from(["/a", "/b", "/b/c"]),
        st.binary(max_size=2),
        st.one_of(st.none(), st.integers(0, 8)),
    ),
    max_size=20,
)


async def replay(store: Store, history: Sequence[Operation]) -> object:
    """Everything that can be seen of a store while and after `history` is done to it."""
    outcomes: list[object] = []
    for operation, key, value, number in history:
        try:
            if operation == "write":
                outcomes.append(await store.write(key, value, expected=number))
            elif operation == "delete":
                outcomes.append(await store.delete(key, expected=number))
            else:
                await store.compact(number or 0)
        except Conflict as conflict:
            outcomes.append(conflict.current)
    end = await store.write("/b/end", b"", expected=0)
    for revision in range(1, end):
        try:
            outcomes.append(list((await store.list("/", revision=revision)).entries))
            outcomes.append(await collect_until(store, "/b", revision, end))
        except Compacted as refusal:
            outcomes.append(type(refusal))
    return outcomes


async def collect_until(store: Store, prefix: str, after: int, end: int) -> list[Change]:
    changes: list[Change] = []
    async with asyncio.timeout(5), aclosing(store.watch(prefix, after=after)) as batches:
        async for batch in batches:
            changes += batch
            if changes[-1].revision == end:
                break
    return changes


@settings(max_examples=30, deadline=None)
@given(operations)
def test_engines_agree_on_every_history(engine: Engine, history: Sequence[Operation]) -> None:
    """Whatever is done, in whatever order, every engine accepts, refuses, numbers and shows it as the memory store does."""

    async def outcome(engine: Engine) -> object:
        async with engine() as store:
            return await replay(store, history)

    assert asyncio.run(outcome(engine)) == asyncio.run(outcome(memory))
