"""Events about objects: repeats are counted, near repeats aggregated, floods dropped, failures never the caller's."""

import asyncio
import logging
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, NamedTuple, TypeVar

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.meta import GVK, Key, Object
from kobune.api.timestamps import format_time
from kobune.client.client import Client, Patch

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

# Source: upstream EventCorrelator.
CACHED = 4096  # Entries in each memory.
AGGREGATE_AFTER = 10  # Events alike but for the message within the interval; from then on they count as one.
AGGREGATE_SECONDS = 600.0
BURST, REFILL_SECONDS = 25, 300.0  # Events of one source about one object: so many at once, then one per 5 minutes.
QUEUED = 1000  # Events on their way; more are dropped. Source: upstream's broadcaster queue.
ATTEMPTS, RETRY_SECONDS = 12, 10.0  # Source: upstream's broadcaster, maxTriesPerEvent and sleepDuration.
MESSAGE_LIMIT = 1024  # Characters; the API refuses more.


class CoreEvent(Object):
    """A core/v1 Event."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Event")
    count: int | None = None
    reason: str = ""
    message: str = ""
    type: str = ""


class _Subject(NamedTuple):
    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    revision: str
    field_path: str


class _Fact(NamedTuple):
    """What happened; equal facts are one Event with a count."""

    subject: _Subject
    type: str
    reason: str
    message: str


@dataclass(slots=True)
class _Bucket:
    """A token bucket."""

    tokens: float
    filled: float

    def take(self, now: float) -> bool:
        self.tokens = min(BURST, self.tokens + (now - self.filled) / REFILL_SECONDS)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


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
        self._client = client
        self._component, self._host = component, host
        self._clock = clock
        self._queue: asyncio.Queue[_Fact] = asyncio.Queue(queued)
        self._buckets: OrderedDict[_Subject, _Bucket] = OrderedDict()
        self._similar: OrderedDict[tuple[_Subject, str, str], _Similar] = OrderedDict()
        self._written: OrderedDict[_Fact, _Written] = OrderedDict()
        # Sets apart events of one instant, and from the first on those of one component from another's.
        self._number = zlib.crc32(component.encode()) % 1000
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
        meta, gvk = about.metadata, about.gvk
        subject = _Subject(
            gvk.api_version, gvk.kind, meta.namespace, meta.name, meta.uid, meta.resource_version, field_path
        )
        try:
            self._queue.put_nowait(_Fact(subject, kind, reason, shortened(message)))
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
        if not self._bucket(key.subject).take(self._clock.monotonic()):
            self.dropped += 1
            return
        now = self._clock.now()
        written = self._written.get(key)
        if written is None:
            self._number += 1
            written = _Written(self._key(fact.subject, now), 0, now)
        _remember(self._written, key, written)
        written.count += 1
        try:
            await insist(lambda: self._send(fact, written, now), self._clock)
        except ApiError:
            self._written.pop(key, None)
            raise

    async def _send(self, fact: _Fact, written: _Written, now: datetime) -> None:
        if written.exists:
            change = {"count": written.count, "lastTimestamp": format_time(now), "message": fact.message}
            try:
                await self._client.change(CoreEvent, written.key, change, how=Patch.STRATEGIC)
                return
            except NotFound:
                pass  # It has expired: begin again.
        try:
            await self._client.add(CoreEvent, self._manifest(fact, written, now))
        except AlreadyExists:
            # Another component has said something of the same object in the same instant.
            self._number += len(self._component)
            written.key = self._key(fact.subject, now)
            await self._client.add(CoreEvent, self._manifest(fact, written, now))
        written.exists = True

    def _key(self, subject: _Subject, now: datetime) -> Key:
        """A name that no other event of this recorder has. An event about a cluster-scoped object lives in the default
        namespace."""
        return Key(subject.namespace or "default", f"{subject.name}.{int(now.timestamp() * 1e9) + self._number:x}")

    def _manifest(self, fact: _Fact, written: _Written, now: datetime) -> Json:
        subject = fact.subject
        involved = {
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
            "apiVersion": subject.api_version,
            "resourceVersion": subject.revision,
            "fieldPath": subject.field_path,
        }
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        return {
            "metadata": {"name": written.key.name, "namespace": written.key.namespace},
            "involvedObject": {name: value for name, value in involved.items() if value},
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

    def _bucket(self, subject: _Subject) -> _Bucket:
        bucket = self._buckets.get(subject) or _Bucket(BURST, self._clock.monotonic())
        _remember(self._buckets, subject, bucket)
        return bucket


async def insist(send: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Send an event, again and again while the server is away. Raises ApiError when it refuses or stays away."""
    for attempt in range(ATTEMPTS):
        try:
            return await send()
        except ApiError as error:
            if error.code < 500 or attempt == ATTEMPTS - 1:
                raise
            await clock.sleep(RETRY_SECONDS)


def shortened(message: str) -> str:
    """As much of it as the API takes."""
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "..."


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > CACHED:
        memory.popitem(last=False)
