"""A queue of keys to look at: no key twice, no key by two workers at once, failures retried ever more slowly."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from kobune.api.clock import Clock
from kobune.api.prometheus import Counter, Gauge, Histogram, exponential, render_text

K = TypeVar("K", bound=Hashable)

# Seconds. Source: upstream DefaultTypedControllerRateLimiter, the exponential half.
FIRST_DELAY, MAX_DELAY = 0.005, 1000.0


# Seconds. Source: upstream component-base's workqueue metrics, as the names below.
_BUCKETS = exponential(1e-8, 10, 10)


class QueueMetrics:
    """What queues tell of themselves, by their names. Queues of one name are counted together."""

    def __init__(self) -> None:
        self.queues: list[WorkQueue[Any]] = []
        labels = ("name",)
        self.depth = Gauge("workqueue_depth", labels)
        self.adds = Counter("workqueue_adds_total", labels)
        self.retries = Counter("workqueue_retries_total", labels)
        self.waited = Histogram("workqueue_queue_duration_seconds", _BUCKETS, labels)
        self.worked = Histogram("workqueue_work_duration_seconds", _BUCKETS, labels)
        self.unfinished = Gauge("workqueue_unfinished_work_seconds", labels)
        self.longest = Gauge("workqueue_longest_running_processor_seconds", labels)

    def render(self) -> str:
        """In Prometheus' text form, with what the queues hold now."""
        for gauge in (self.depth, self.unfinished, self.longest):
            gauge.values.clear()
        for queue in self.queues:
            in_work = queue.seconds_in_work()
            self.depth.add(queue.name, amount=len(queue))
            self.adds.add(queue.name, amount=0)  # It is there before it has counted anything.
            self.retries.add(queue.name, amount=0)
            self.unfinished.add(queue.name, amount=sum(in_work))
            self.longest.set(queue.name, to=max(self.longest.values.get((queue.name,), 0.0), max(in_work, default=0.0)))
        return render_text(
            (self.depth, self.adds, self.retries, self.waited, self.worked, self.unfinished, self.longest)
        )


class WorkQueue(Generic[K]):
    """Keys wait here once each, however often they are added; a key added while it is worked on is worked on again after.

    `handle` of `run` decides nothing about retrying: what it raises makes its key come back later, what it returns, a
    number of seconds or None, when to look again. `metrics` is told of it under `name`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        first_delay: float = FIRST_DELAY,
        max_delay: float = MAX_DELAY,
        name: str = "",
        metrics: QueueMetrics | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self.metrics = metrics or QueueMetrics()
        self.metrics.queues.append(self)
        self._first, self._max = first_delay, max_delay
        self._ready: asyncio.Queue[K] = asyncio.Queue()  # Bounded by the number of keys: each is in it once at most.
        # With the moment of each: to be worked on, in `_ready` or in work and added again; and in work.
        self._dirty: dict[K, float] = {}
        self._working: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}  # When a delayed key becomes ready.
        self._delayed: list[tuple[float, int, K]] = []  # A heap; entries that `_due` contradicts are stale.
        self._order = itertools.count()
        self._sooner = asyncio.Event()  # A delay shorter than the one slept on has come.

    def __len__(self) -> int:
        """Keys ready to be worked on."""
        return self._ready.qsize()

    @property
    def is_idle(self) -> bool:
        """Nothing is ready or in work; delayed keys may wait."""
        return not self._dirty and not self._working

    def seconds_in_work(self) -> list[float]:
        """For how long each key in work has been."""
        now = self._clock.monotonic()
        return [now - began for began in self._working.values()]

    def add(self, key: K) -> None:
        """The key needs a look."""
        if key in self._dirty:
            return
        self._dirty[key] = self._clock.monotonic()
        self.metrics.adds.add(self.name)
        if key not in self._working:
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """The key needs a look in `seconds`; of several delays the shortest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        heapq.heappush(self._delayed, (due, next(self._order), key))
        if self._delayed[0][2] == key:
            self._sooner.set()

    def retry(self, key: K) -> float:
        """The key has failed: it comes back after 5 ms, doubled at each failure up to 1000 s. Returns the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # The exponent is bounded first: 2.0 ** 2000 overflows.
        self.metrics.retries.add(self.name)
        delay = min(self._first * 2.0 ** min(failures, 60), self._max)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key has succeeded: its next failure is its first."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often the key has failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; the caller must say `done` with it."""
        key = await self._ready.get()
        now = self._clock.monotonic()
        self.metrics.waited.observe(now - self._dirty.pop(key, now), self.name)
        self._working[key] = now
        return key

    def done(self, key: K) -> None:
        """The key is no longer in work."""
        began = self._working.pop(key, None)
        if began is not None:
            self.metrics.worked.observe(self._clock.monotonic() - began, self.name)
        if key in self._dirty:
            self._ready.put_nowait(key)

    async def run(self, handle: Callable[[K], Awaitable[float | None]], *, workers: int) -> None:
        """Work on keys for ever, so many at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.release_delayed(), name="delays")
            for number in range(workers):
                group.create_task(self._work(handle), name=f"worker {number}")

    async def release_delayed(self) -> None:
        """Make delayed keys ready when they are due, for ever; `run` does it for its own."""
        while True:
            now = self._clock.monotonic()
            while self._delayed and self._delayed[0][0] <= now:
                due, _, key = heapq.heappop(self._delayed)
                if self._due.get(key) == due:
                    del self._due[key]
                    self.add(key)
            self._sooner.clear()
            if self._delayed:
                await self._sleep_or_sooner(self._delayed[0][0] - now)
            else:
                await self._sooner.wait()

    async def _sleep_or_sooner(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            sleep = group.create_task(self._clock.sleep(seconds))
            sooner = group.create_task(self._sooner.wait())
            await asyncio.wait((sleep, sooner), return_when=asyncio.FIRST_COMPLETED)
            sleep.cancel()
            sooner.cancel()

    async def _work(self, handle: Callable[[K], Awaitable[float | None]]) -> None:
        while True:
            key = await self.get()
            try:
                again = await handle(key)
            except Exception:
                self.retry(key)
            else:
                self.forget(key)
                if again is not None:
                    self.add_after(key, again)
            finally:
                self.done(key)
