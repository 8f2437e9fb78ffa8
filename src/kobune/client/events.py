"""Events about objects: repeats are counted, near repeats aggregated, floods dropped, failures never the caller's."""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import ClassVar, NamedTuple, TypeVar

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.api.objects.meta import GVK, Key, Object
from kobune.api.timestamps import format_time
from kobune.api.token_bucket import TokenBucket
from kobune.client.client import Client
from kobune.client.event_writer import CACHED, MESSAGE_LIMIT, QUEUED, EventWriter, Reference, reference, shortened

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

# Source: upstream EventCorrelator.
AGGREGATE_AFTER = 10  # Events alike but for the message within the interval; from then on they count as one.
AGGREGATE_SECONDS = 600.0
BURST, REFILL_SECONDS = 25, 300.0  # Events of one source about one object: so many at once, then one per 5 minutes.


class CoreEvent(Object):
    """A core/v1 Event."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Event")
    count: int | None = None
    reason: str = ""
    message: str = ""
    type: str = ""


class _Fact(NamedTuple):
    """What happened; equal facts are one Event with a count."""

    subject: Reference
    type: str
    reason: str
    message: str


@dataclass(slots=True)
class _Similar:
    """The messages seen lately of facts alike but for the message."""

    last: float
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Written:
    """The Event object of a fact."""

    key: Key
    count: int
    first: datetime
    exists: bool = False


class EventRecorder:
    """Writes core/v1 Events in the name of one component. `record` only enqueues; `run` is the task that writes.

    `queued` is how many events may be on their way.
    """

    def __init__(self, client: Client, component: str, *, clock: Clock, host: str = "", queued: int = QUEUED) -> None:
        self._component, self._host = component, host
        self._clock = clock
        self._writer = EventWriter(client, CoreEvent, component, clock)
        self._queue: asyncio.Queue[_Fact] = asyncio.Queue(queued)
        self._buckets: OrderedDict[Reference, TokenBucket] = OrderedDict()
        self._similar: OrderedDict[tuple[Reference, str, str], _Similar] = OrderedDict()
        self._written: OrderedDict[_Fact, _Written] = OrderedDict()
        self.dropped = 0  # For want of room or by the spam limit.

    def normal(self, about: Object, reason: str, message: str, *, field_path: str = "") -> None:
        """Something went as it should."""
        self.record(about, "Normal", reason, message, field_path=field_path)

    def warning(self, about: Object, reason: str, message: str, *, field_path: str = "") -> None:
        """Something needs attention."""
        self.record(about, "Warning", reason, message, field_path=field_path)

    def record(self, about: Object, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Enqueue an event of type `kind` ("Normal" or "Warning") about the object; never fails, never waits.

        `field_path` is the part of the object meant, as `spec.containers{web}`.
        """
        try:
            self._queue.put_nowait(_Fact(reference(about, field_path), kind, reason, shortened(message)))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Write what is recorded, for ever."""
        while True:
            fact = await self._queue.get()
            try:
                await self._write(fact)
            except ApiError as error:
                ending = any(cause.reason == "NamespaceTerminating" for cause in error.causes)
                log.log(
                    logging.DEBUG if ending else logging.WARNING,
                    "event not written",
                    extra={"reason": fact.reason, "about": fact.subject.name, "failure": str(error)},
                )
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Return when everything recorded so far has been written or given up; `run` must be running."""
        await self._queue.join()

    async def _write(self, fact: _Fact) -> None:
        # The revision tells apart events, not subjects: counting and limits look at the object itself.
        key = fact._replace(subject=fact.subject._replace(revision=""))
        if self._is_one_of_many(key):
            fact = fact._replace(message=f"(combined from similar events): {fact.message}"[:MESSAGE_LIMIT])
            key = key._replace(message="")  # Whatever the messages, one Event stands for all.
        moment = self._clock.monotonic()
        if not self._bucket(key.subject, moment).take(moment):
            self.dropped += 1
            return
        now = self._clock.now()
        written = self._written.get(key)
        if written is None:
            written = _Written(self._writer.new_key(fact.subject, now), 0, now)
        _remember(self._written, key, written)
        written.count += 1
        change = {"count": written.count, "lastTimestamp": format_time(now), "message": fact.message}
        manifest = partial(self._manifest, fact, written, now)
        try:
            written.key = await self._writer.write(
                fact.subject, written.key, manifest, change if written.exists else None
            )
        except ApiError:
            self._written.pop(key, None)
            raise
        written.exists = True

    def _manifest(self, fact: _Fact, written: _Written, now: datetime, key: Key) -> Json:
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        return {
            "metadata": {"name": key.name, "namespace": key.namespace},
            "involvedObject": fact.subject.json(),
            "reason": fact.reason,
            "message": fact.message,
            "source": source,
            "firstTimestamp": format_time(written.first),
            "lastTimestamp": format_time(now),
            "count": written.count,
            "type": fact.type,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }

    def _is_one_of_many(self, fact: _Fact) -> bool:
        """There have been too many events alike but for their messages."""
        now = self._clock.monotonic()
        alike = (fact.subject, fact.type, fact.reason)
        similar = self._similar.get(alike)
        if similar is None or now - similar.last > AGGREGATE_SECONDS:
            similar = _Similar(now)
        similar.messages.add(fact.message)
        similar.last = now
        _remember(self._similar, alike, similar)
        if len(similar.messages) < AGGREGATE_AFTER:
            return False
        similar.messages.pop()  # The memory stays small and the threshold reached. Upstream forgets one too.
        return True

    def _bucket(self, subject: Reference, now: float) -> TokenBucket:
        bucket = self._buckets.get(subject) or TokenBucket(BURST, REFILL_SECONDS, BURST, now)
        _remember(self._buckets, subject, bucket)
        return bucket


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > CACHED:
        memory.popitem(last=False)
