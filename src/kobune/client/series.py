"""Events as events.k8s.io/v1 has them: what happens again and again is one Event with a series.

The first is written, and the second, which begins the series. From then on repeats are only counted, until the series has
been quiet for six minutes or half an hour has passed. Source: upstream client-go tools/events.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.api.objects.meta import GVK, Key, Object
from kobune.api.timestamps import format_micro
from kobune.client.client import Client
from kobune.client.event_writer import CACHED, QUEUED, EventWriter, Reference, reference, shortened

log = logging.getLogger(__name__)

FINISH_SECONDS = 360.0  # A series so long quiet has ended; so often it is looked for such. Source: finishTime.
REFRESH_SECONDS = 1800.0  # So often a lasting series is told anew, before it expires. Source: refreshTime.


class Event(Object):
    gvk: ClassVar[GVK] = GVK("events.k8s.io", "v1", "Event")


class Fact(NamedTuple):
    """What happened; equal facts are one series, whatever is noted about them."""

    regarding: Reference
    related: Reference | None
    type: str
    reason: str
    action: str


@dataclass(slots=True)
class _Series:
    """The Event object of a fact."""

    fact: Fact
    note: str
    key: Key
    began: datetime
    last: datetime
    count: int = 1
    written: int = 0  # The count that the API server was told last.


class SeriesRecorder:
    """Writes events.k8s.io/v1 Events in the name of one component. `record` only enqueues; `run` is the task that writes.

    `queued` is how many events may be on their way.
    """

    def __init__(self, client: Client, component: str, *, clock: Clock, host: str = "", queued: int = QUEUED) -> None:
        self._clock = clock
        self._writer = EventWriter(client, Event, component, clock)
        self._component, self._instance = component, f"{component}-{host}" if host else component
        self._queue: asyncio.Queue[_Series] = asyncio.Queue(queued)
        self._known: OrderedDict[Fact, _Series] = OrderedDict()
        self.dropped = 0  # For want of room.

    def record(
        self, about: Object, kind: str, reason: str, action: str, note: str, *, related: Object | None = None
    ) -> None:
        """Count an event of type `kind` ("Normal" or "Warning") about the object; never fails, never waits."""
        fact = Fact(reference(about), reference(related) if related is not None else None, kind, reason, action)
        now = self._clock.now()
        series = self._known.get(fact)
        if series is None:
            key = self._writer.new_key(fact.regarding, now)
            series = self._known[fact] = _Series(fact, shortened(note), key, now, now)
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        else:
            series.count += 1
            series.last = now
            if series.count > 2:
                return  # It is told when the series ends or is refreshed.
        self._enqueue(series)

    def _enqueue(self, series: _Series) -> None:
        try:
            self._queue.put_nowait(series)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Write what is recorded, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_queued())
            tasks.create_task(self._every(FINISH_SECONDS, self._finish))
            tasks.create_task(self._every(REFRESH_SECONDS, self._refresh))

    async def flush(self) -> None:
        """Return when everything enqueued so far has been written or given up; `run` must be running."""
        await self._queue.join()

    async def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while True:
            await self._clock.sleep(seconds)
            act()

    def _finish(self) -> None:
        """Tell the last count of series that have ended, and forget them."""
        quiet = self._clock.now() - timedelta(seconds=FINISH_SECONDS)
        for series in [each for each in self._known.values() if each.last < quiet]:
            del self._known[series.fact]
            if series.count > series.written:
                self._enqueue(series)

    def _refresh(self) -> None:
        """Tell of the series that last, so that their Events do not expire."""
        for series in self._known.values():
            if series.count > 1:
                self._enqueue(series)

    async def _write_queued(self) -> None:
        while True:
            series = await self._queue.get()
            try:
                await self._write(series)
            except ApiError as error:
                about = {"reason": series.fact.reason, "about": series.fact.regarding.name, "failure": str(error)}
                log.info("event not written", extra=about)
            finally:
                self._queue.task_done()

    async def _write(self, series: _Series) -> None:
        count, regarding = series.count, series.fact.regarding
        change = {"series": _series_json(series)} if series.written else None
        series.key = await self._writer.write(regarding, series.key, partial(self._manifest, series), change)
        series.written = count

    def _manifest(self, series: _Series, key: Key) -> Json:
        fact = series.fact
        manifest: Json = {
            "metadata": {"name": key.name, "namespace": key.namespace},
            "eventTime": format_micro(series.began),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "action": fact.action,
            "reason": fact.reason,
            "regarding": fact.regarding.json(),
            "note": series.note,
            "type": fact.type,
        }
        if fact.related is not None:
            manifest["related"] = fact.related.json()
        if series.count > 1:
            manifest["series"] = _series_json(series)
        return manifest


def _series_json(series: _Series) -> Json:
    return {"count": series.count, "lastObservedTime": format_micro(series.last)}
