"""The watch cache over the memory store: what it shows, to whom, and when."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.api.clock import SystemClock
from kobune.api.errors import Gone, Json
from kobune.api.field_selectors import parse_fields
from kobune.api.selectors import parse_labels
from kobune.controlplane.store.cache import Cache, Tuning
from kobune.controlplane.store.contract import Change, Compacted, Conflict
from kobune.controlplane.store.encoding import bookmark
from kobune.controlplane.store.feed import Feed
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.selection import Selection
from kobune.controlplane.store.watchers import MAX_PENDING, Frames, Watcher

SELECTABLE = ("spec.nodeName", "status.phase")
BOOKMARK = partial(bookmark, "Pod", "v1")


@asynccontextmanager
async def opened(store: MemoryStore | None = None, **tuning: float) -> AsyncIterator[tuple[Cache, Feed]]:
    """A cache of pods, fed."""
    store = store or MemoryStore()
    feed = Feed(store, SystemClock(), tuning=Tuning(**tuning))  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(feed.run())
        yield await feed.open("/registry/pods/", selectable=SELECTABLE, indexed=("spec.nodeName",)), feed
        running.cancel()


@pytest.fixture
async def pods() -> AsyncIterator[Cache]:
    async with opened() as (cache, _):
        yield cache


def pod(name: str, namespace: str = "default", node: str = "", phase: str = "", **labels: str) -> Json:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": "77", "labels": labels}
    status = {"phase": phase} if phase else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}, "status": status}


async def put(cache: Cache, obj: Json, expected: int | None = None) -> int:
    metadata = obj["metadata"]
    if expected is None:
        current = cache.get(metadata["namespace"], metadata["name"])
        expected = current.revision if current else 0
    return (await cache.write(metadata["namespace"], metadata["name"], obj, expected=expected)).revision


def names(items: Sequence[object]) -> list[str]:
    return [item.name for item in items]  # type: ignore[attr-defined]


def seen(watcher: Watcher) -> list[tuple[str, str, int]]:
    """What has arrived by now: type, name, resourceVersion."""
    frames = []
    while batch := watcher.take():
        frames += [orjson.loads(frame) for frame in batch]
    return [
        (one["type"], one["object"]["metadata"].get("name", ""), int(one["object"]["metadata"]["resourceVersion"]))
        for one in frames
    ]


# Reading and writing


async def test_an_object_is_kept_as_written_with_its_revision(pods: Cache) -> None:
    obj = pod("a", app="web")
    item = await pods.write("default", "a", obj, expected=0)
    assert obj == pod("a", app="web")
    obj["metadata"]["resourceVersion"] = "1"
    assert orjson.loads(item.body) == obj
    assert item.body.startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1",')
    assert pods.get("default", "a") is item
    assert (item.name, item.namespace, item.labels) == ("a", "default", {"app": "web"})
    assert pods.get("default", "b") is None
    assert pods.revision == 1


async def test_whoever_writes_reads_it_at_once(pods: Cache) -> None:
    async def write(number: int) -> None:
        item = await pods.write("default", f"{number}", pod(f"{number}"), expected=0)
        assert pods.get("default", f"{number}") is item
        await pods.delete("default", f"{number}", expected=item.revision)
        assert pods.get("default", f"{number}") is None

    await asyncio.gather(*map(write, range(50)))
    assert len(pods) == 0


async def test_a_stale_write_conflicts_and_what_it_missed_can_be_read(pods: Cache) -> None:
    await put(pods, pod("a"))
    await put(pods, pod("a", phase="Running"))
    with pytest.raises(Conflict):
        await put(pods, pod("a"), expected=1)
    with pytest.raises(Conflict):
        await put(pods, pod("a"), expected=0)
    with pytest.raises(Conflict):
        await pods.delete("default", "b", expected=None)
    current = pods.get("default", "a")
    assert current is not None
    assert await pods.delete("default", "a", expected=current.revision) == 3


async def test_lists_are_in_key_order_and_by_namespace(pods: Cache) -> None:
    for namespace, name in (("b", "x"), ("a", "y"), ("a-b", "z"), ("a", "x")):
        await put(pods, pod(name, namespace))
    assert [item.key for item in pods.list()] == [
        "/registry/pods/a-b/z",
        "/registry/pods/a/x",
        "/registry/pods/a/y",
        "/registry/pods/b/x",
    ]
    assert names(pods.list(Selection(namespace="a"))) == ["x", "y"]
    assert pods.list(Selection(namespace="c")) == []


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(labels=parse_labels("app=web")), ["a", "b"]),
        (Selection(labels=parse_labels("app!=web")), ["c"]),
        (Selection(fields=parse_fields("spec.nodeName=n1")), ["a", "c"]),
        (Selection(fields=parse_fields("spec.nodeName!=n1")), ["b"]),
        (Selection(fields=parse_fields("spec.nodeName=n1,status.phase!=Failed")), ["a"]),
        (Selection(fields=parse_fields("status.phase=")), ["b"]),
        (Selection(fields=parse_fields("metadata.name=b")), ["b"]),
        (Selection(fields=parse_fields("metadata.name!=b")), ["a", "c"]),
        (Selection(fields=parse_fields("metadata.namespace=other")), ["c"]),
        (Selection(namespace="default", name="a"), ["a"]),
        (Selection(namespace="default", fields=parse_fields("spec.nodeName=n1")), ["a"]),
        (Selection(name="a", labels=parse_labels("app=db")), []),
    ],
    ids=str,
)
async def test_selections(pods: Cache, selection: Selection, expected: list[str]) -> None:
    await put(pods, pod("a", node="n1", phase="Running", app="web"))
    await put(pods, pod("b", node="n2", app="web"))
    await put(pods, pod("c", "other", node="n3", phase="Failed", app="db"))
    await put(pods, pod("c", "other", node="n1", phase="Failed", app="db"))
    assert names(pods.list(selection)) == expected


async def test_a_field_that_cannot_be_selected_is_refused(pods: Cache) -> None:
    with pytest.raises(KeyError):
        pods.list(Selection(fields=parse_fields("spec.nothing=1")))


async def test_what_was_stored_before_is_loaded() -> None:
    store = MemoryStore()
    async with opened(store) as (cache, _):
        await put(cache, pod("b", node="n1", app="web"))
        await put(cache, pod("a", phase="Running"))
    async with opened(store) as (cache, _):
        assert [(item.name, item.revision, item.fields) for item in cache.list()] == [
            ("a", 2, ("", "Running")),
            ("b", 1, ("n1", "")),
        ]
        assert names(cache.list(Selection(labels=parse_labels("app=web")))) == ["b"]
        with pytest.raises(Gone, match=r"^too old resource version: 1 \(2\)$"):
            cache.watch(after=1)


async def test_a_cache_opened_while_others_write_misses_nothing() -> None:
    async with opened() as (cache, feed):

        async def write() -> None:
            for number in range(100):
                await feed.store.write(f"/registry/nodes/{number:03}", b'{"metadata":{"name":"x"}}', expected=0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            await asyncio.sleep(0)
            nodes = [tasks.create_task(feed.open("/registry/nodes/", namespaced=False)) for _ in range(3)]
        assert len({task.result() for task in nodes}) == 1
        assert len(nodes[0].result()) == 100
        assert len(cache) == 0


async def test_folders_may_be_two_deep() -> None:
    async with opened() as (_, feed):
        services = await feed.open("/registry/services/specs/")
        endpoints = await feed.open("/registry/services/endpoints/")
        await put(services, pod("a"))
        assert (len(services), len(endpoints)) == (1, 0)


# Pages


async def test_all_pages_show_the_state_of_the_first() -> None:
    # Without pins the pages come from the store's history.
    for pins in (8, 0):
        async with opened(pins=pins) as (cache, _):
            for number in range(7):
                await put(cache, pod(f"{number}", app="web" if number % 2 else "db"))
            first = cache.page(Selection(), 3)
            assert (names(first.items), first.more, first.remaining) == (["0", "1", "2"], True, 4)
            await cache.delete("default", "3", expected=None)
            await put(cache, pod("4", phase="Running"))
            await put(cache, pod("35"))
            second = await cache.next_page(Selection(), 3, after=first.items[-1].key, revision=first.revision)
            assert (names(second.items), second.more) == (["3", "4", "5"], True)
            assert second.items[1].revision == 5
            assert b'"resourceVersion":"5"' in second.items[1].body
            last = await cache.next_page(Selection(), 3, after=second.items[-1].key, revision=first.revision)
            assert (names(last.items), last.more, last.revision) == (["6"], False, first.revision)
            odd = Selection(namespace="default", labels=parse_labels("app=web"))
            page = await cache.next_page(odd, 2, after="", revision=first.revision)
            assert (names(page.items), page.more, page.remaining) == (["1", "3"], True, 0)


async def test_pages_of_one_namespace_end_with_it(pods: Cache) -> None:
    for namespace in "ab":
        for number in range(3):
            await put(pods, pod(f"{number}", namespace))
    first = pods.page(Selection(namespace="a"), 2)
    assert (names(first.items), first.more, first.remaining) == (["0", "1"], True, 1)
    rest = await pods.next_page(Selection(namespace="a"), 2, after=first.items[-1].key, revision=first.revision)
    assert ([item.key for item in rest.items], rest.more) == (["/registry/pods/a/2"], False)


async def test_a_page_of_a_forgotten_state_is_gone() -> None:
    async with opened(pins=1) as (cache, feed):
        for number in range(4):
            await put(cache, pod(f"{number}"))
        old = cache.page(Selection(), 1)
        await put(cache, pod("9"))
        new = cache.page(Selection(), 1)
        await feed.store.compact(new.revision)
        assert (await cache.next_page(Selection(), 1, after=new.items[-1].key, revision=new.revision)).more
        with pytest.raises(Gone, match="The provided continue parameter is too old"):
            await cache.next_page(Selection(), 1, after=old.items[-1].key, revision=old.revision)


async def test_a_state_is_kept_for_a_time_however_often_it_is_asked_for() -> None:
    async with opened(seconds=0) as (cache, feed):
        for number in range(4):
            await put(cache, pod(f"{number}"))
        first = cache.page(Selection(), 1)
        assert (await cache.next_page(Selection(), 1, after=first.items[-1].key, revision=first.revision)).more
        await put(cache, pod("9"))
        await feed.store.compact(feed.revision)
        with pytest.raises(Gone, match="The provided continue parameter is too old"):
            await cache.next_page(Selection(), 1, after=first.items[-1].key, revision=first.revision)


# Watching


async def test_a_watch_sees_each_change_once_in_order(pods: Cache) -> None:
    await put(pods, pod("a"))
    with pods.watch(after=1) as watcher:
        await put(pods, pod("a", phase="Running"))
        await put(pods, pod("b"))
        await pods.delete("default", "a", expected=None)
        assert seen(watcher) == [("MODIFIED", "a", 2), ("ADDED", "b", 3), ("DELETED", "a", 4)]
    with pods.watch(after=2) as watcher:
        await put(pods, pod("c"))
        assert seen(watcher) == [("ADDED", "b", 3), ("DELETED", "a", 4), ("ADDED", "c", 5)]


async def test_a_deleted_object_is_shown_as_it_last_was_at_the_new_revision(pods: Cache) -> None:
    await put(pods, pod("a", phase="Running"))
    with pods.watch(after=1) as watcher:
        await pods.delete("default", "a", expected=1)
        (frame,) = watcher.take()
    shown = pod("a", phase="Running")
    shown["metadata"]["resourceVersion"] = "2"
    assert orjson.loads(frame) == {"type": "DELETED", "object": shown}
    assert frame.endswith(b"}\n")


async def test_a_watch_begins_with_what_there_is(pods: Cache) -> None:
    await put(pods, pod("b"))
    await put(pods, pod("a"))
    with pods.watch(initial_events_end=True, bookmark=BOOKMARK) as watcher:
        await put(pods, pod("c"))
        batch = watcher.take()
        assert [orjson.loads(frame)["type"] for frame in batch] == ["ADDED", "ADDED", "BOOKMARK"]
        assert orjson.loads(batch[-1])["object"] == {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "resourceVersion": "2",
                "creationTimestamp": None,
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        }
        assert seen(watcher) == [("ADDED", "c", 3)]


async def test_objects_enter_and_leave_a_selection(pods: Cache) -> None:
    by_label = pods.watch(Selection(labels=parse_labels("app=web")))
    by_node = pods.watch(Selection(fields=parse_fields("spec.nodeName=n1")))
    await put(pods, pod("a", app="db"))
    await put(pods, pod("a", app="web"))
    await put(pods, pod("a", app="web", node="n1"))
    await put(pods, pod("a", app="db", node="n1", phase="Running"))
    await put(pods, pod("a", app="db", node="n2"))
    await pods.delete("default", "a", expected=None)
    assert seen(by_label) == [("ADDED", "a", 2), ("MODIFIED", "a", 3), ("DELETED", "a", 4)]
    assert seen(by_node) == [("ADDED", "a", 3), ("MODIFIED", "a", 4), ("DELETED", "a", 5)]


async def test_resuming_shows_what_was_missed_through_the_selection(pods: Cache) -> None:
    await put(pods, pod("a", app="web"))
    await put(pods, pod("a", app="db"))
    await put(pods, pod("b", app="web"))
    watcher = pods.watch(Selection(labels=parse_labels("app=web")), after=1)
    (frame, _) = watcher.take()
    assert orjson.loads(frame)["object"]["metadata"]["labels"] == {"app": "web"}
    watcher = pods.watch(Selection(labels=parse_labels("app=web")), after=1)
    assert seen(watcher) == [("DELETED", "a", 2), ("ADDED", "b", 3)]


async def test_watchers_by_name_and_namespace_see_only_theirs(pods: Cache) -> None:
    one = pods.watch(Selection(namespace="x", name="a"))
    same_name = pods.watch(Selection(fields=parse_fields("metadata.name=a")))
    namespace = pods.watch(Selection(namespace="x"))
    for where, name in (("x", "a"), ("y", "a"), ("x", "ba")):
        await put(pods, pod(name, where))
    assert seen(one) == [("ADDED", "a", 1)]
    assert seen(same_name) == [("ADDED", "a", 1), ("ADDED", "a", 2)]
    assert seen(namespace) == [("ADDED", "a", 1), ("ADDED", "ba", 3)]


async def test_a_frame_is_built_once_for_all(pods: Cache) -> None:
    watchers = [pods.watch() for _ in range(3)] + [pods.watch(Selection(namespace="default"))]
    await put(pods, pod("a"))
    assert len({id(frame) for watcher in watchers for frame in watcher.take()}) == 1


async def test_a_watcher_may_have_frames_of_its_own(pods: Cache) -> None:
    def render(event: bytes, body: bytes) -> bytes:
        return event + b" " + orjson.loads(body)["metadata"]["name"].encode()

    await put(pods, pod("a"))
    with pods.watch(render=render) as watcher:
        await put(pods, pod("b"))
        assert [*watcher.take(), *watcher.take()] == [b"ADDED a", b"ADDED b"]


async def test_waiting_for_frames(pods: Cache) -> None:
    with pods.watch() as watcher:
        waiting = asyncio.ensure_future(anext(watcher))
        await asyncio.sleep(0)
        assert not waiting.done()
        await put(pods, pod("a"))
        (frame,) = await asyncio.wait_for(waiting, 1)
        assert b'"ADDED"' in frame


async def test_frames_go_the_short_way_only_to_one_who_waits_and_takes_them(pods: Cache) -> None:
    taken: list[bytes] = []
    willing = True

    def take(frames: Frames) -> bool:
        if willing:
            taken.extend(frames)
        return willing

    with pods.watch(render=lambda event, body: orjson.loads(body)["metadata"]["name"].encode()) as watcher:
        watcher.short_way = take
        await put(pods, pod("a"))
        assert await anext(watcher) == [b"a"]
        waiting = asyncio.ensure_future(anext(watcher))
        await asyncio.sleep(0)
        await put(pods, pod("b"))
        await put(pods, pod("c"))
        assert taken == [b"b", b"c"]
        assert not waiting.done()
        willing = False
        await put(pods, pod("d"))
        willing = True
        await put(pods, pod("e"))
        assert [*await waiting, *watcher.take()] == [b"d", b"e"]
        assert taken == [b"b", b"c"]


async def test_a_watcher_that_reads_too_slowly_is_cut_off(pods: Cache) -> None:
    slow, other = pods.watch(), pods.watch()
    for number in range(MAX_PENDING + 1):
        slow.push((b"%d" % number,), 5)
    assert slow.too_slow
    assert [batch async for batch in slow] == []
    await put(pods, pod("a"))
    assert seen(other) == [("ADDED", "a", 1)]
    assert len(pods.watchers) == 1


async def test_a_watcher_with_too_many_bytes_waiting_is_cut_off(pods: Cache) -> None:
    slow = pods.watch()
    for number in range(40):
        await put(pods, pod(f"{number}", app="x" * 1_000_000))
    assert slow.too_slow
    with pytest.raises(StopAsyncIteration):
        await anext(slow)


async def test_nothing_is_collected_for_a_watcher_that_has_gone(pods: Cache) -> None:
    with pods.watch(), pods.watch(Selection(namespace="a")):
        assert len(pods.watchers) == 2
    assert len(pods.watchers) == 0
    await put(pods, pod("a"))


async def test_bookmarks_say_how_far_everything_has_been_sent() -> None:
    async with opened() as (cache, feed):
        wants, does_not = cache.watch(bookmark=BOOKMARK), cache.watch()
        await put(cache, pod("a"))
        await feed.store.write("/registry/leases/x/y", b"{}", expected=0)
        feed.bookmark()
        assert seen(wants) == [("ADDED", "a", 1), ("BOOKMARK", "", 2)]
        assert seen(does_not) == [("ADDED", "a", 1)]


async def test_history_is_bounded_by_number() -> None:
    async with opened(events=200) as (cache, _):
        for number in range(301):
            await put(cache, pod(f"{number}"))
        with pytest.raises(Gone, match="too old resource version: 1 "):
            cache.watch(after=1)
        assert len(seen(cache.watch(after=201))) == 100


async def test_history_is_bounded_by_time() -> None:
    async with opened(seconds=-2.0) as (cache, _):
        for number in range(150):
            await put(cache, pod(f"{number}"))
        assert len(seen(cache.watch(after=50))) == 100
        with pytest.raises(Gone):
            cache.watch(after=49)


async def test_history_is_bounded_by_bytes() -> None:
    async with opened(bytes=300_000) as (cache, _):
        for number in range(300):
            await put(cache, pod("a", app=f"{number}" + "x" * 2_000))
        with pytest.raises(Gone):
            cache.watch(after=100)
        assert len(seen(cache.watch(after=200))) == 100


async def test_an_idle_kind_is_never_too_old() -> None:
    async with opened(events=200) as (cache, feed):
        await put(cache, pod("a"))
        for number in range(500):
            await feed.store.write(f"/registry/leases/x/{number}", b"{}", expected=0)
        assert seen(cache.watch(after=1)) == []


async def test_when_the_store_forgot_what_was_not_yet_read_everything_is_listed_anew() -> None:
    class Forgetful(MemoryStore):
        """After the first change it writes another one and compacts it before the watch gets there."""

        async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
            async for batch in super().watch(prefix, after=after):
                yield batch
                if after == 0:
                    await self.write("/registry/pods/default/late", b'{"metadata":{"name":"late"}}', expected=0)
                    await self.compact(2)
                    raise Compacted(2)

    async with opened(Forgetful()) as (cache, feed):
        watcher = cache.watch()
        await feed.store.write("/registry/pods/default/a", b'{"metadata":{"name":"a"}}', expected=0)
        await asyncio.wait_for(feed.reached(2), 1)
        assert names(cache.list()) == ["a", "late"]
        assert [batch async for batch in watcher] == []
        with pytest.raises(Gone):
            cache.watch(after=1)


# Agreement

changes = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "n1", "n2", "delete"]), st.sampled_from(["web", "db"])),
    max_size=25,
)
SELECTIONS = (
    Selection(),
    Selection(namespace="default"),
    Selection(labels=parse_labels("app=web")),
    Selection(fields=parse_fields("spec.nodeName=n1")),
    Selection(fields=parse_fields("spec.nodeName!=n1"), labels=parse_labels("app in (web, db)")),
    Selection(namespace="default", name="a"),
)


@settings(max_examples=60, deadline=None)
@given(changes, st.integers(0, 25))
def test_whoever_follows_a_watch_knows_what_a_list_shows(history: Sequence[tuple[str, str, str]], joins: int) -> None:
    """From whatever moment, through whatever selection: the frames applied to the state then give the state now."""

    def apply(state: dict[str, bytes], watcher: Watcher) -> None:
        while batch := watcher.take():
            for frame in batch:
                event = orjson.loads(frame)
                name, shown = event["object"]["metadata"]["name"], orjson.dumps(event["object"])
                assert (name in state) is (event["type"] != "ADDED")
                if event["type"] == "DELETED":
                    del state[name]
                else:
                    state[name] = shown

    async def run() -> None:
        async with opened() as (cache, _):
            states: list[dict[str, bytes]] = [{} for _ in SELECTIONS]
            early = [cache.watch(selection) for selection in SELECTIONS]
            joined, at = [dict(state) for state in states], 0
            for number, (name, node, app) in enumerate(history):
                if number == joins:
                    joined = [{i.name: i.body for i in cache.list(selection)} for selection in SELECTIONS]
                    at = cache.revision
                if node != "delete":
                    await put(cache, pod(name, node=node, app=app))
                elif cache.get("default", name):
                    await cache.delete("default", name, expected=None)
            late = [cache.watch(selection, after=at) for selection in SELECTIONS]
            for selection, state, watcher, other, resumed in zip(SELECTIONS, states, early, joined, late, strict=True):
                expected = {item.name: item.body for item in cache.list(selection)}
                apply(state, watcher)
                apply(other, resumed)
                assert state == other == expected

    asyncio.run(run())


async def test_frames_that_go_out_together_are_joined_once_for_all_watchers(pods: Cache) -> None:
    watchers = [pods.watch() for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        for name in ("a", "b"):
            tasks.create_task(put(pods, pod(name)))
    batches = [watcher.take() for watcher in watchers]
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert all(batch.whole == b"".join(batch) for batch in batches)
    assert len({id(batch.whole) for batch in batches}) == 1


async def test_frames_that_were_not_taken_stay_before_those_that_follow(pods: Cache) -> None:
    slow, fast = pods.watch(), pods.watch()
    await put(pods, pod("a"))
    assert seen(fast) == [("ADDED", "a", 1)]
    await put(pods, pod("b"))
    assert seen(slow) == [("ADDED", "a", 1), ("ADDED", "b", 2)]
    assert seen(fast) == [("ADDED", "b", 2)]
