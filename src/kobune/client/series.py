"""Events as events.k8s.io/v1 has them: what happens again and again is one Event with a series.

The first is written, and the second, which begins the series. From then on repeats are only counted, until the series has
been quiet for six minutes or half an hour has passed. Source: upstream client-go tools/events.
"""

import asyncio
import logging
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.meta import GVK, Key, Object
from kobune.api.timestamps import format_micro
from kobune.client.client import Client, Patch
from kobune.client.events import CACHED, QUEUED, insist, shortened

log = logging.getLogger(__name__)

FINISH_SECONDS = 360.0  # A series so long quiet has ended; so often it is looked for such. Source: finishTime.
REFRESH_SECONDS = 1800.0  # So often a lasting series is told anew, before it expires. Source: refreshTime.


class Event(Object):
    gvk: ClassVar[GVK] = GVK("events.k8s.io", "v1", "Event")


class Reference(NamedTuple):
    """An object as it was when something happened to it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    revision: str


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
        self._client, self._clock = client, clock
        self._component, self._instance = component, f"{component}-{host}" if host else component
        self._queue: asyncio.Queue[_Series] = asyncio.Queue(queued)
        self._known: OrderedDict[Fact, _Series] = OrderedDict()
        # Sets apart events of one instant, and from the first on those of one component from another's.
        self._number = zlib.crc32(component.encode()) % 1000
        self.dropped = 0  # For want of room.

    def record(
        self, about: Object, kind: str, reason: str, action: str, note: str, *, related: Object | None = None
    ) -> None:
        """Count an event of type `kind` ("Normal" or "Warning") about the object; never fails, never waits."""
        fact = Fact(reference(about), reference(related) if related is not None else None, kind, reason, action)
        now = self._clock.now()
        series = self._known.get(fact)
        if series is None:
            series = self._known[fact] = _Series(fact, shortened(note), self._new_key(fact.regarding, now), now, now)
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
                await insist(partial(self._send, series), self._clock)
            except ApiError as error:
                about = {"reason": series.fact.reason, "about": series.fact.regarding.name, "failure": str(error)}
                log.info("event not written", extra=about)
            finally:
                self._queue.task_done()

    async def _send(self, series: _Series) -> None:
        count = series.count
        if series.written:
            try:
                change = {"series": _series_json(series)}
                await self._client.change(Event, series.key, change, how=Patch.STRATEGIC)
                series.written = count
                return
            except NotFound:
                pass  # It has expired: begin again.
        try:
            await self._client.add(Event, self._manifest(series))
        except AlreadyExists:
            # Another component has said something of the same object in the same instant.
            self._number += len(self._component)
            series.key = self._new_key(series.fact.regarding, self._clock.now())
            await self._client.add(Event, self._manifest(series))
        series.written = count

    def _new_key(self, regarding: Reference, now: datetime) -> Key:
        """A name that no other event of this recorder has; a cluster-scoped object's events live in default."""
        self._number += 1
        name = f"{regarding.name}.{int(now.timestamp() * 1e9) + self._number:x}"
        return Key(regarding.namespace or "default", name)

    def _manifest(self, series: _Series) -> Json:
        fact = series.fact
        manifest: Json = {
            "metadata": {"name": series.key.name, "namespace": series.key.namespace},
            "eventTime": format_micro(series.began),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "action": fact.action,
            "reason": fact.reason,
            "regarding": _reference_json(fact.regarding),
            "note": series.note,
            "type": fact.type,
        }
        if fact.related is not None:
            manifest["related"] = _reference_json(fact.related)
        if series.count > 1:
            manifest["series"] = _series_json(series)
        return manifest


def reference(about: Object) -> Reference:
    """What says which object is meant, in this version of it."""
    meta, gvk = about.metadata, about.gvk
    return Reference(gvk.api_version, gvk.kind, meta.namespace, meta.name, meta.uid, meta.resource_version)


def _reference_json(one: Reference) -> Json:
    fields = {
        "kind": one.kind,
        "namespace": one.namespace,
        "name": one.name,
        "uid": one.uid,
        "apiVersion": one.api_version,
        "resourceVersion": one.revision,
    }
    return {name: value for name, value in fields.items() if value}


def _series_json(series: _Series) -> Json:
    return {"count": series.count, "lastObservedTime": format_micro(series.last)}
