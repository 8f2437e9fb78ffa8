"""The one watch of the store from which every cache of this process is kept up to date."""

import asyncio
import heapq
import logging
from collections.abc import Sequence
from itertools import count

from kobune.api.clock import Clock
from kobune.controlplane.store.cache import Cache, Tuning
from kobune.controlplane.store.contract import Change, Compacted, Store, Unavailable

log = logging.getLogger(__name__)

ROOT = "/registry/"  # Where every cache's prefix begins.
RETRY_SECONDS = 0.5
PROGRESS_SECONDS = 0.1  # Source: upstream's progress requester.
PAGE = 2000  # Entries loaded at a time.


class Feed:
    """Opens caches and feeds them. `run` must be running whenever anything here is awaited."""

    def __init__(self, store: Store, clock: Clock, *, tuning: Tuning | None = None) -> None:
        self.store = store
        self.revision = 0  # Everything up to here has been applied to every cache and sent to every watcher.
        self._clock = clock
        self._tuning = tuning or Tuning()
        self._caches: dict[str, Cache] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._loading: dict[str, list[Change]] = {}  # What happened to a prefix since its listing began.
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._started = asyncio.Event()
        self._start_agains = 0

    async def run(self) -> None:
        """Apply what is committed, until cancelled. Raises Closed when the store is closed."""
        while True:
            try:
                if not self._started.is_set():
                    self._advance(await self.store.revision())
                    self._started.set()
                # Whatever is written there, by others too: only so is it certain that the newest revision is reached.
                async for batch in self.store.watch("", after=self.revision):
                    self._apply(batch)
            except Compacted:
                await self._start_again()
            except Unavailable as error:
                log.warning("The store does not answer: %s", error)
                await self._clock.sleep(RETRY_SECONDS)

    async def open(
        self,
        prefix: str,
        *,
        namespaced: bool = True,
        selectable: Sequence[str] = (),
        indexed: Sequence[str] = (),
    ) -> Cache:
        """The cache of everything under `prefix` ("/registry/pods/"), loaded; one that is open already is given again.

        Args:
            selectable: the names of the fields that selectors may use.
            indexed: those among them by which it must be fast to list and watch.
        """
        await self._started.wait()
        async with self._opening.setdefault(prefix, asyncio.Lock()):
            cache = self._caches.get(prefix)
            if cache is None:
                cache = Cache(self, prefix, namespaced, selectable, indexed, self._clock, self._tuning)
                await self._load(cache)
            return cache

    def close(self, prefix: str) -> None:
        """Forget a cache and end its watches; what is stored stays."""
        cache = self._caches.pop(prefix, None)
        if cache is not None:
            cache.watchers.close()

    async def reached(self, revision: int) -> None:
        """Return once everything up to `revision` has been applied."""
        if revision > self.revision:
            future = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiters, (revision, next(self._order), future))
            await future

    async def caught_up(self) -> None:
        """Return once everything that was committed before this call has been applied, whoever wrote it."""
        await self._settled(await self.store.revision())

    def bookmark(self) -> None:
        """Send a bookmark to every watcher that wants them. To be called about once a minute."""
        for cache in self._caches.values():
            cache.watchers.bookmark(self.revision)

    async def _settled(self, revision: int) -> None:
        """`reached`, of a revision that may be somebody else's, which the watch is not shown."""
        while revision > self.revision:
            try:
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await self.reached(revision)
            except TimeoutError:
                await self.store.progress()

    def _apply(self, batch: Sequence[Change]) -> None:
        caches, by_cache = self._caches, dict[Cache, list[Change]]()
        for change in batch:
            key = change.key
            end = key.find("/", len(ROOT)) + 1
            cache = caches.get(key[:end])
            if cache is None:
                cache = caches.get(key[: key.find("/", end) + 1])  # "/registry/services/specs/"
            if cache is not None:
                by_cache.setdefault(cache, []).append(change)
        revision = batch[-1].revision
        for cache, changes in by_cache.items():
            if cache.prefix in self._loading:
                self._loading[cache.prefix] += changes
            else:
                cache.apply(changes)
        self._advance(revision)

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        waiters = self._waiters
        while waiters and waiters[0][0] <= self.revision:
            future = heapq.heappop(waiters)[2]
            if not future.done():
                future.set_result(None)

    async def _load(self, cache: Cache) -> None:
        """Fill a cache while the watch goes on: what changes meanwhile is collected and applied at the end."""
        try:
            while True:
                start_agains = self._start_agains
                missed = self._loading[cache.prefix] = []
                self._caches[cache.prefix] = cache
                await self._settled(await self._fill(cache))
                if start_agains == self._start_agains:
                    break
            cache.loaded(self.revision, missed)
        except BaseException:
            del self._caches[cache.prefix]
            raise
        finally:
            del self._loading[cache.prefix]

    async def _fill(self, cache: Cache) -> int:
        """Load page by page, each of its own moment, so that the store keeps no state for it; the last one's revision."""
        cache.clear()
        after = ""
        while True:
            page = await self.store.list(cache.prefix, after=after, limit=PAGE)
            cache.load(page.entries)
            if not page.more:
                return page.revision
            after = page.entries[-1].key

    async def _start_again(self) -> None:
        """History was compacted before it was read: load everything anew. Watchers must do so too."""
        self._start_agains += 1
        revision = await self.store.revision()
        for cache in [cache for prefix, cache in self._caches.items() if prefix not in self._loading]:
            await self._fill(cache)
            # What it shows may be newer; the cache skips the changes that it shows already.
            cache.loaded(revision, ())
        self._advance(revision)
