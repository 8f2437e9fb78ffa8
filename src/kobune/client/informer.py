"""A local copy of one collection, kept true by list and watch: what controllers, the scheduler and kubelets read."""

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from kobune.api.catalogue import Resource
from kobune.api.clock import Clock, SystemClock
from kobune.api.errors import ApiError, Gone, Timeout
from kobune.api.objects.meta import Key, Object
from kobune.client.client import BOOKMARK, Client, resource_of

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)

FIRST_BACKOFF, MAX_BACKOFF = 0.8, 30.0  # Seconds. Source: upstream Reflector.
STEADY = 5.0  # Seconds: a watch that lasted so long was a good one, and the back-off starts anew.

OnChange = Callable[[T | None, T | None], None]  # (old, new); no old: added, no new: deleted.


class State(StrEnum):
    """What the informer is doing."""

    LISTING = "listing"
    WATCHING = "watching"
    WAITING = "waiting"  # Backing off after a failure.


class _Index(NamedTuple, Generic[T]):
    keys_of: Callable[[T], Iterable[Hashable]]
    entries: dict[Hashable, dict[Key, T]]


class Informer(Generic[T]):
    """Every object of a collection by key, a moment behind the API server.

    An event is decoded once; an object that a list shows unchanged keeps its old view. Views are shared: readers do not
    change them. Callbacks run inside the informer's task, must be quick, and may not raise.

    Args:
        namespace: only this one; empty is all.
        labels, fields: selectors, as the API takes them.
        resource: names the kind where the view does not.
        clock, rng: for the back-off and its jitter.
    """

    def __init__(
        self,
        client: Client,
        view: type[T],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource: Resource | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.items: dict[Key, T] = {}
        self.resource = resource or resource_of(view)
        self.state = State.LISTING
        self.revision = ""  # The newest resourceVersion seen, by event or bookmark.
        self._client = client
        self._view = view
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._indexes: dict[str, _Index[T]] = {}
        self._callbacks: list[OnChange[T]] = []
        self._synced = asyncio.Event()

    def get(self, key: Key) -> T | None:
        """The object as last seen."""
        return self.items.get(key)

    def add_index(self, name: str, keys_of: Callable[[T], Iterable[Hashable]]) -> None:
        """Keep objects findable by what `keys_of` gives for them. Adding a name again changes nothing."""
        if name in self._indexes:
            return
        index = self._indexes[name] = _Index(keys_of, {})
        for key, item in self.items.items():
            for entry in keys_of(item):
                index.entries.setdefault(entry, {})[key] = item

    def index(self, name: str, key: Hashable) -> list[T]:
        """The objects for which the index's function gave `key`."""
        found = self._indexes[name].entries.get(key)
        return list(found.values()) if found else []

    def index_size(self, name: str, key: Hashable) -> int:
        """How many objects `index` would give."""
        return len(self._indexes[name].entries.get(key, ()))

    def on_change(self, callback: OnChange[T]) -> None:
        """Call back for every change, and now for everything already here."""
        self._callbacks.append(callback)
        for item in list(self.items.values()):
            callback(None, item)

    @property
    def is_complete(self) -> bool:
        """Whether it holds every object of its resource, not a selection."""
        return not (self._namespace or self._labels or self._fields)

    @property
    def has_synced(self) -> bool:
        """The first list is in."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Return once the first list is in."""
        await self._synced.wait()

    async def run(self) -> None:
        """List, then watch, for ever. Failures are logged and retried; a lost place in history means listing again."""
        backoff = FIRST_BACKOFF
        relist = True
        while True:
            began = self._clock.monotonic()
            try:
                if relist:
                    self.state = State.LISTING
                    await self._list()
                    relist = False
                self.state = State.WATCHING
                await self._watch()
                if self._clock.monotonic() - began >= 1.0:
                    continue  # The server ends every watch in time.
                failure = "the watch ended at once"
            except Gone:
                relist, failure = True, "history is no longer kept"
            except msgspec.ValidationError as error:
                # Our view is wrong. The one informer lags, and says so; what else runs beside it goes on.
                relist, failure = True, str(error)
                log.error("cannot decode", extra={"resource": self.resource.plural, "failure": failure})
            except ApiError as error:
                failure = str(error)
                # Timeout: the place is in the future of this server, whose store must be another one.
                relist = relist or error.code < 500 or isinstance(error, Timeout)
            level = logging.DEBUG if relist else logging.INFO
            log.log(level, "informer interrupted", extra={"resource": self.resource.plural, "failure": failure})
            if self._clock.monotonic() - began > STEADY:
                backoff = FIRST_BACKOFF
            self.state = State.WAITING
            await self._clock.sleep(backoff * (1 + self._rng.random()))
            backoff = min(backoff * 2, MAX_BACKOFF)

    async def _list(self) -> None:
        listing = await self._client.list(
            self._view, self._namespace, labels=self._labels, fields=self._fields, resource=self.resource
        )
        present = set()
        for item in listing.items:
            key = item.key
            present.add(key)
            known = self.items.get(key)
            if known is None or known.metadata.resource_version != item.metadata.resource_version:
                self._put(key, item)
        for key in [key for key in self.items if key not in present]:
            self._drop(key)
        self.revision = listing.revision
        self._synced.set()

    async def _watch(self) -> None:
        events = self._client.watch(
            self._view,
            self._namespace,
            revision=self.revision,
            labels=self._labels,
            fields=self._fields,
            resource=self.resource,
        )
        async for event in events:
            item = event.object
            meta = item.metadata
            self.revision = meta.resource_version
            if event.type == "DELETED":
                self._drop(Key(meta.namespace, meta.name), item)
            elif event.type != BOOKMARK:
                self._put(Key(meta.namespace, meta.name), item)

    def _put(self, key: Key, item: T) -> None:
        old = self.items.get(key)
        self.items[key] = item
        for index in self._indexes.values():
            now = index.keys_of(item)
            if old is not None:
                before = index.keys_of(old)
                if before != now:
                    _unindex(index, key, before)
            for entry in now:
                bucket = index.entries.get(entry)
                if bucket is None:
                    index.entries[entry] = {key: item}
                else:
                    bucket[key] = item
        for callback in self._callbacks:
            callback(old, item)

    def _drop(self, key: Key, last: T | None = None) -> None:
        """Forget the object; callbacks see its last state, which the deletion brings."""
        old = self.items.pop(key, None)
        if old is None:
            return
        for index in self._indexes.values():
            _unindex(index, key, index.keys_of(old))
        for callback in self._callbacks:
            callback(last or old, None)


def _unindex(index: _Index[T], key: Key, entries: Iterable[Hashable]) -> None:
    for entry in entries:
        bucket = index.entries.get(entry)
        if bucket is not None:
            bucket.pop(key, None)
            if not bucket:
                del index.entries[entry]
