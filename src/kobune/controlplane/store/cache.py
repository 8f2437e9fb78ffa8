"""One kind's objects in memory, as bytes: reads without the store, lists at one revision, watches from any recent one."""

import asyncio
import sys
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import Gone, Json
from kobune.controlplane.store.contract import Change, Compacted, Conflict, Entry
from kobune.controlplane.store.encoding import encode, frame, with_revision
from kobune.controlplane.store.facts import FactReader, Facts
from kobune.controlplane.store.history import History
from kobune.controlplane.store.selection import Item, Predicate, Selection
from kobune.controlplane.store.watchers import Bookmark, Event, Render, Watcher, Watchers

if TYPE_CHECKING:
    from kobune.controlplane.store.feed import Feed

EVERYTHING = Selection()
EXPIRED_LIST = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter, or use the continue token in this response to retrieve "
    "the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that "
    "were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
_key = attrgetter("key")
FEW = 8  # Objects tell how large those of their kind are.


class Tuning(NamedTuple):
    """How much a cache keeps of the past."""

    events: int = 4096  # The newest changes, for watches that resume.
    seconds: float = 300.0  # Older ones are forgotten, except for the last few.
    bytes: int = 16 * 2**20  # Of the bodies that these changes replaced.
    pins: int = 8  # States at which paged lists stand; further ones are read from the store.


class Listing(NamedTuple):
    items: Sequence[Item]  # In key order.
    revision: int  # The state that this page and all that follow it show.
    more: bool  # Further objects follow after the last one.
    remaining: int  # How many, where that is known; else 0.


class Cache:
    """Made by `Feed.open`. What a method shows is never older than what the same process has written."""

    def __init__(
        self,
        feed: "Feed",
        prefix: str,
        namespaced: bool,
        selectable: Sequence[str],
        indexed: Sequence[str],
        clock: Clock,
        tuning: Tuning,
    ) -> None:
        self.prefix = prefix
        self.selectable = tuple(selectable)
        self.watchers = Watchers(selectable, indexed)
        self._feed = feed
        self._namespaced = namespaced
        self._clock = clock
        self._tuning = tuning
        self._reader = FactReader(selectable)
        self._written: dict[bytes, Facts] = {}  # Of values on their way through the store.
        self._items: dict[str, Item] = {}
        self._order: list[Item] = []  # By key.
        self._keys: list[str] = []  # Of `_order`.
        self._index = {field: dict[str, dict[str, Item]]() for field in indexed}
        self._positions = {field: self.selectable.index(field) for field in indexed}
        self._pins: OrderedDict[int, tuple[float, list[Item]]] = OrderedDict()
        self._history = History(0, tuning.events, tuning.seconds, tuning.bytes)
        self._news = asyncio.Event()  # Set by the next change, and replaced.

    # Reading

    @property
    def revision(self) -> int:
        """The state that reads show now."""
        return self._feed.revision

    @property
    def changed_at(self) -> int:
        """The revision of the newest change to anything here; what was made from the objects since then still holds."""
        return self._history.newest

    async def changed_since(self, seen: int) -> None:
        """Return when `changed_at` is no longer `seen`."""
        while self.changed_at == seen:
            await self._news.wait()

    def __len__(self) -> int:
        return len(self._items)

    def typical_bytes(self) -> int:
        """How large an object is, by a few of them; 0 when there are none."""
        few = [len(item.body) for item in islice(self._items.values(), FEW)]
        return sum(few) // len(few) if few else 0

    def key(self, namespace: str, name: str) -> str:
        """The storage key of an object."""
        return f"{self.prefix}{namespace}/{name}" if self._namespaced else f"{self.prefix}{name}"

    def get(self, namespace: str, name: str) -> Item | None:
        """The newest state of an object."""
        return self._items.get(self.key(namespace, name))

    def list(self, selection: Selection = EVERYTHING) -> Sequence[Item]:
        """All that match, as of `revision`, in key order."""
        predicate = selection.predicate(self.selectable)
        candidates = self._candidates(selection)
        return candidates if predicate is None else [item for item in candidates if predicate(item)]

    def page(self, selection: Selection, limit: int, *, after: str = "") -> Listing:
        """The first `limit` that match and follow after the key `after`, as of now."""
        revision = self._feed.revision
        predicate = selection.predicate(self.selectable)
        candidates = self._candidates(selection)
        if after:
            candidates = candidates[bisect_right(candidates, after, key=_key) :]
        listing = _cut(candidates, predicate, limit, revision, selection)
        if listing.more and revision not in self._pins:
            self._pin(revision)
        return listing

    async def next_page(self, selection: Selection, limit: int, *, after: str, revision: int) -> Listing:
        """The `limit` that follow after the key `after` in the state at `revision`.

        Raises:
            Gone: that state is no longer known, neither here nor in the store.
        """
        pinned = self._pins.get(revision)
        # Asking again does not make a pin last longer: a token must end sometime, as upstream's do.
        if pinned is not None and self._clock.monotonic() < pinned[0]:
            items = pinned[1]
            first = bisect_right(items, after, key=_key)
            last = len(items)
            if selection.namespace:
                last = bisect_left(items, f"{self.prefix}{selection.namespace}0", key=_key)
            return _cut(items[first:last], selection.predicate(self.selectable), limit, revision, selection)
        return await self._page_from_store(selection, limit, after, revision)

    # Writing

    def facts(self, obj: Json) -> Facts:
        """What selection needs of an object."""
        return self._reader.read(obj)

    async def write(
        self, namespace: str, name: str, obj: Json, *, expected: int, durable: bool = True, seconds: float = 0.0
    ) -> Item:
        """Store an object and return it as stored; whoever reads from now on sees it.

        Args:
            obj: complete but for the resourceVersion; not changed.
            expected: the revision of the state it replaces; 0: there is none.
            seconds: how long it need be kept; 0 is for ever.
        Raises:
            Conflict: it is at another revision; nothing was written.
        """
        known = self.get(namespace, name) if expected else None
        facts = self._reader.read(obj, known.labels) if known is not None else self._reader.read(obj)
        return await self.write_encoded(
            namespace, name, encode(obj), facts, expected=expected, durable=durable, seconds=seconds
        )

    async def write_encoded(
        self, namespace: str, name: str, value: bytes, facts: Facts, *, expected: int, durable: bool, seconds: float
    ) -> Item:
        """As `write`, of an object that is encoded already; `facts` are its own."""
        key = self.key(namespace, name)
        self._written[value] = facts
        try:
            revision = await self._feed.store.write(key, value, expected=expected, durable=durable, seconds=seconds)
            await self._feed.reached(revision)
        except Conflict as conflict:
            await self._see(conflict)
            raise
        finally:
            self._written.pop(value, None)
        item = self._items.get(key)
        if item is None or item.revision != revision:
            # Somebody else has already replaced it.
            return Item(key, namespace, with_revision(value, revision), revision, *facts)
        return item

    async def delete(self, namespace: str, name: str, *, expected: int | None) -> int:
        """Remove an object; the revision at which it is gone. Raises Conflict: it is at another one, or already gone."""
        try:
            revision = await self._feed.store.delete(self.key(namespace, name), expected=expected)
        except Conflict as conflict:
            await self._see(conflict)
            raise
        await self._feed.reached(revision)
        return revision

    async def _see(self, conflict: Conflict) -> None:
        """Wait until reads show what the writer did not know of, so that trying again can succeed."""
        if conflict.current is not None:
            await self._feed.reached(conflict.current.revision)
        else:
            await self._feed.caught_up()

    # Watching

    def watch(
        self,
        selection: Selection = EVERYTHING,
        *,
        after: int | None = None,
        initial_events_end: bool = False,
        bookmark: Bookmark | None = None,
        render: Render = frame,
    ) -> Watcher:
        """What happens to the objects that match.

        Args:
            after: begin with the changes after this revision, which must have been reached. None: with everything that there is now, as ADDED.
            initial_events_end: after the initial events send a bookmark that says so.
            bookmark: makes the bookmarks; None: the watcher wants none.
            render: makes the frames. Watchers with equal selection and the same function share them.
        Raises:
            Gone: the changes after `after` are no longer known.
            KeyError: a field selector names a field that cannot be selected.
        """
        revision = self._feed.revision
        if after is not None:
            events = self._history.after(after)
            return self.watchers.add(selection, render, bookmark, lambda test: _changes(events, test, render))
        items = self._candidates(selection)

        def backlog(predicate: Predicate | None) -> Iterator[bytes]:
            yield from (render(b"ADDED", item.body) for item in items if predicate is None or predicate(item))
            if initial_events_end and bookmark is not None:
                yield bookmark(revision, True)

        return self.watchers.add(selection, render, bookmark, backlog)

    # Being fed

    def clear(self) -> None:
        """Begin to load: forget everything, and let no watch go on."""
        self.watchers.close()
        self._items.clear()
        self._keys, self._order = [], []
        for index in self._index.values():
            index.clear()
        self._pins.clear()

    def load(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow, in key order, all that are there."""
        for key, value, revision in entries:
            item = self._item(key, value, revision)
            self._items[key] = item
            self._keys.append(key)
            self._order.append(item)
            for field, position in self._positions.items():
                self._index[field].setdefault(item.fields[position], {})[key] = item

    def loaded(self, revision: int, missed: Sequence[Change]) -> None:
        """Everything has been added; `missed` is what changed since loading began, up to the state at `revision`."""
        self.apply(missed)
        self._history = History(revision, self._tuning.events, self._tuning.seconds, self._tuning.bytes)
        self._tell()

    def apply(self, changes: Sequence[Change]) -> None:
        """Take over committed changes and send them to the watchers."""
        events: list[Event] = []
        for key, value, revision in changes:
            old = self._items.get(key)
            if old is not None and old.revision >= revision:
                continue  # Loaded in a later state.
            new = None if value is None else self._item(key, value, revision)
            if new is not None:
                self._put(new, old)
            elif old is not None:
                self._remove(old)
            else:
                continue
            events.append(Event(old, new, revision))
        if events:
            now = self._clock.monotonic()
            self._history.add(events, now)
            while self._pins and next(iter(self._pins.values()))[0] < now:
                self._pins.popitem(last=False)
            self.watchers.dispatch(events)
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _item(self, key: str, value: bytes, revision: int) -> Item:
        facts = (self._written and self._written.get(value)) or self._reader.decode(value)
        namespace = key[len(self.prefix) : key.rindex("/")] if self._namespaced else ""
        return Item(key, sys.intern(namespace), with_revision(value, revision), revision, *facts)

    def _put(self, new: Item, old: Item | None) -> None:
        key = new.key
        at = bisect_left(self._keys, key)
        if old is None:
            self._keys.insert(at, key)
            self._order.insert(at, new)
        else:
            self._order[at] = new
        self._items[key] = new
        for field, position in self._positions.items():
            index = self._index[field]
            if old is not None and old.fields[position] != new.fields[position]:
                _discard(index, old.fields[position], key)
            index.setdefault(new.fields[position], {})[key] = new

    def _remove(self, old: Item) -> None:
        at = bisect_left(self._keys, old.key)
        del self._keys[at], self._order[at], self._items[old.key]
        for field, position in self._positions.items():
            _discard(self._index[field], old.fields[position], old.key)

    def _candidates(self, selection: Selection) -> Sequence[Item]:
        """A copy of as few items as the indexes allow, in key order, among which are all that match."""
        name, namespace = selection.exact_name, selection.exact_namespace
        if name and (namespace or not self._namespaced):
            item = self.get(namespace, name)
            return [] if item is None else [item]
        for field, index in self._index.items():
            value = selection.fields.exact(field)
            if value is not None:
                found = index.get(value, {})
                return [found[key] for key in sorted(found)]
        if selection.namespace and self._namespaced:
            start = f"{self.prefix}{selection.namespace}"
            # "0" is the character after "/".
            return self._order[bisect_left(self._keys, f"{start}/") : bisect_left(self._keys, f"{start}0")]
        return self._order.copy()

    def _pin(self, revision: int) -> None:
        self._pins[revision] = (self._clock.monotonic() + self._tuning.seconds, self._order.copy())
        while len(self._pins) > self._tuning.pins:
            self._pins.popitem(last=False)

    async def _page_from_store(self, selection: Selection, limit: int, after: str, revision: int) -> Listing:
        scope = f"{self.prefix}{selection.namespace}/" if selection.namespace and self._namespaced else self.prefix
        predicate, items = selection.predicate(self.selectable), list[Item]()
        try:
            while True:
                page = await self._feed.store.list(scope, after=after, limit=limit and limit + 1, revision=revision)
                found = (self._item(*entry) for entry in page.entries)
                items += [item for item in found if predicate is None or predicate(item)]
                if not page.more or (limit and len(items) > limit):
                    break
                after = page.entries[-1].key
        except Compacted as compacted:
            raise Gone(EXPIRED_LIST) from compacted
        more = bool(limit) and len(items) > limit
        return Listing(items[:limit] if more else items, revision, more, 0)


def _cut(
    candidates: Sequence[Item], predicate: Predicate | None, limit: int, revision: int, selection: Selection
) -> Listing:
    """The first `limit` (0: all) of the candidates that pass."""
    passing = candidates if predicate is None else (item for item in candidates if predicate(item))
    items = list(islice(passing, limit + 1)) if limit else list(passing)
    if not limit or len(items) <= limit:
        return Listing(items, revision, False, 0)
    del items[limit:]
    return Listing(items, revision, True, 0 if selection.is_filter else len(candidates) - limit)


def _changes(events: Sequence[Event], predicate: Predicate | None, render: Render) -> Iterator[bytes]:
    for event in events:
        if seen := event.seen_through(predicate):
            yield render(seen, event.body(seen))


def _discard(index: dict[str, dict[str, Item]], value: str, key: str) -> None:
    del index[value][key]
    if not index[value]:
        del index[value]
