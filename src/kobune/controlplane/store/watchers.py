"""Sends each change of one kind to the watchers it concerns; a frame is built once, however many watchers get it.

Watchers of the same selection and rendering form a group. A change looks up the groups that could want it (by name, by
namespace, by the value of an indexed field), so ten thousand watchers of one object each cost no more than one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from kobune.controlplane.store.encoding import at_revision
from kobune.controlplane.store.selection import Item, Predicate, Selection

# What a watcher is sent for an event (ADDED, MODIFIED or DELETED) and the object's body. One line, with its end.
Render = Callable[[bytes, bytes], bytes]
# What it is sent as a bookmark: the revision; whether the initial events end here. None: it wants none.
Bookmark = Callable[[int, bool], bytes]

# How far behind a watcher may be; further, and it is cut off.
MAX_PENDING = 10_000  # Frames.
MAX_PENDING_BYTES = 32 * 2**20
BATCH_BYTES = 256 * 1024  # Of the backlog, built and handed over at a time.


class Event(NamedTuple):
    """One change of one object."""

    old: Item | None  # None: created.
    new: Item | None  # None: deleted.
    revision: int

    def seen_through(self, predicate: Predicate | None) -> bytes:
        """ADDED, MODIFIED or DELETED for a watcher of the objects that pass; empty when it sees nothing."""
        before = self.old is not None and (predicate is None or predicate(self.old))
        if self.new is not None and (predicate is None or predicate(self.new)):
            return b"MODIFIED" if before else b"ADDED"
        return b"DELETED" if before else b""

    def body(self, seen: bytes) -> bytes:
        """The object that goes with what is seen.

        Source: upstream's cacher: an object that is deleted or leaves the selection is shown in its last state within it,
        at the revision at which it left.
        """
        if seen != b"DELETED":
            assert self.new is not None
            return self.new.body
        assert self.old is not None
        return at_revision(self.old.body, self.revision)


class Frames(list[bytes]):
    """Frames that go out together, shared by all watchers that get the same: never change one that has been handed over."""

    __slots__ = ("_whole",)

    def __init__(self, frames: Iterable[bytes] = ()) -> None:
        super().__init__(frames)
        self._whole = b""

    @property
    def whole(self) -> bytes:
        """All of them as one piece, made once."""
        if not self._whole:
            self._whole = self[0] if len(self) == 1 else b"".join(self)
        return self._whole

    def splitlines(self) -> Sequence[bytes]:
        """The frames, as those who were given the whole would find them; who is in the same process is spared both."""
        return self


NO_FRAMES = Frames()


class Watcher:
    """An iterator of batches of frames. It ends when it is closed, is too slow, or the history breaks off.

    Use it in a `with`, so that nothing more is collected once nobody reads.
    """

    def __init__(self, group: "_Group", backlog: Iterator[bytes], bookmark: Bookmark | None) -> None:
        self.too_slow = False
        self._group = group
        self._backlog: Iterator[bytes] | None = backlog  # Built while it is read, because it may be large.
        self._bookmark = bookmark
        self._pending = NO_FRAMES
        self._pending_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        # Offered frames that come while `__anext__` waits, when all that it gave before is on its way: true when it
        # took them, and nobody need be woken.
        self.short_way: Callable[[Frames], bool] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frames:
        while True:
            batch = self.take()
            if batch:
                return batch
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def take(self) -> Frames:
        """The frames that are there now, without waiting; of a long backlog a part."""
        if self._backlog is not None:
            batch, size = Frames(), 0
            for one in self._backlog:
                batch.append(one)
                size += len(one)
                if size >= BATCH_BYTES:
                    return batch
            self._backlog = None
            if batch:
                return batch
        batch, self._pending, self._pending_bytes = self._pending, NO_FRAMES, 0
        return batch

    def push(self, frames: Frames, size: int) -> None:
        """Frames to send after all others; `size` bytes together."""
        waiter, short_way = self._waiter, self.short_way
        if short_way is not None and waiter is not None and not waiter.done() and frames and short_way(frames):
            return
        self._pending = Frames((*self._pending, *frames)) if self._pending else frames
        self._pending_bytes += size
        if len(self._pending) > MAX_PENDING or self._pending_bytes > MAX_PENDING_BYTES:
            self.too_slow = True
            self.close()
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def bookmark(self, revision: int) -> None:
        if self._bookmark is not None:
            mark = self._bookmark(revision, False)
            self.push(Frames((mark,)), len(mark))

    def close(self) -> None:
        """End the iteration; what has been collected is dropped."""
        if not self._closed:
            self._closed = True
            self._group.remove(self)
            self._pending, self._pending_bytes, self._backlog = NO_FRAMES, 0, None
            self.push(NO_FRAMES, 0)


class _Group:
    """The watchers that see the same frames."""

    def __init__(self, predicate: Predicate | None, render: Render, forget: Callable[[], None]) -> None:
        self.predicate = predicate
        self.render = render
        self.watchers: set[Watcher] = set()
        self.frames = Frames()  # Of the batch being dispatched.
        self._forget = forget

    def remove(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)
        if not self.watchers:
            self._forget()


class Watchers:
    """Everyone who watches one kind.

    Args:
        selectable: the names of `Item.fields`.
        indexed: those by whose value groups are looked up.
    """

    def __init__(self, selectable: Sequence[str], indexed: Iterable[str]) -> None:
        self._selectable = tuple(selectable)
        self._indexed = {field: self._selectable.index(field) for field in indexed}
        self._groups: dict[tuple[Selection, Render], _Group] = {}
        # By what an object must have for the group to want it; a group is in one place alone.
        self._routes: defaultdict[tuple[str, str], list[_Group]] = defaultdict(list)

    def __len__(self) -> int:
        return sum(len(group.watchers) for group in self._groups.values())

    def add(
        self,
        selection: Selection,
        render: Render,
        bookmark: Bookmark | None,
        backlog: Callable[[Predicate | None], Iterator[bytes]],
    ) -> Watcher:
        """A watcher that is sent the backlog and then what is dispatched from now on."""
        group = self._groups.get((selection, render)) or self._new_group(selection, render)
        watcher = Watcher(group, backlog(group.predicate), bookmark)
        group.watchers.add(watcher)
        return watcher

    def dispatch(self, events: Sequence[Event]) -> None:
        """Send a batch of changes to all whom it concerns."""
        touched: dict[_Group, None] = {}
        for event in events:
            rendered: dict[tuple[Render, bytes], bytes] = {}
            for group in self._concerned(event):
                seen = event.seen_through(group.predicate)
                if not seen:
                    continue
                one = rendered.get((group.render, seen))
                if one is None:
                    one = rendered[group.render, seen] = group.render(seen, event.body(seen))
                group.frames.append(one)
                touched[group] = None
        for group in touched:
            frames, group.frames = group.frames, Frames()
            size = sum(map(len, frames))
            for watcher in tuple(group.watchers):
                watcher.push(frames, size)

    def bookmark(self, revision: int) -> None:
        """Tell everyone who wants bookmarks that everything up to `revision` has been sent."""
        for group in tuple(self._groups.values()):
            for watcher in tuple(group.watchers):
                watcher.bookmark(revision)

    def close(self) -> None:
        """End every watch."""
        for group in tuple(self._groups.values()):
            for watcher in tuple(group.watchers):
                watcher.close()

    def _new_group(self, selection: Selection, render: Render) -> _Group:
        route = self._route(selection)

        def forget() -> None:
            del self._groups[selection, render]
            self._routes[route].remove(group)
            if not self._routes[route]:
                del self._routes[route]

        group = _Group(selection.predicate(self._selectable), render, forget)
        self._groups[selection, render] = group
        self._routes[route].append(group)
        return group

    def _route(self, selection: Selection) -> tuple[str, str]:
        if name := selection.exact_name:
            return "metadata.name", name
        for field in self._indexed:
            if value := selection.fields.exact(field):
                return field, value
        return "metadata.namespace", selection.exact_namespace

    def _concerned(self, event: Event) -> Iterator[_Group]:
        """The groups that may want the event, each once."""
        routes, either = self._routes, event.new or event.old
        assert either is not None
        yield from routes.get(("metadata.namespace", ""), ())
        if len(routes) > 1 or ("metadata.namespace", "") not in routes:
            if either.namespace:
                yield from routes.get(("metadata.namespace", either.namespace), ())
            yield from routes.get(("metadata.name", either.name), ())
            for field, index in self._indexed.items():
                values = {item.fields[index] for item in (event.old, event.new) if item is not None}
                for value in values:
                    yield from routes.get((field, value), ())
