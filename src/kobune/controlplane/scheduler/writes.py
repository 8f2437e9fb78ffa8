"""What a scheduler writes beside its decisions: status, events, and whatever is to be done in the background."""

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.api.objects.meta import Key
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client, Patch
from kobune.client.series import SeriesRecorder
from kobune.controlplane.scheduler.extended_devices import ANNOTATION
from kobune.controlplane.scheduler.plugins.dynamic_resources import delete_written
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.reports import not_scheduled, truncated
from kobune.controlplane.scheduler.views import PodGroup, ResourceClaim

log = logging.getLogger(__name__)

# Events on their way at most. Upstream hands each to a goroutine of its own, so that its thousand places empty at once:
# a burst of bindings is told of whole. Ours are written one after the other, behind the bindings.
EVENTS = 100_000
MANY = 256  # Writes on their way at once; with more, picking waits.


class Writes:
    """Work that goes on while the next pods are picked."""

    def __init__(self, client: Client, clock: Clock, scheduler_names: Collection[str], *, host: str) -> None:
        self._client, self._clock = client, clock
        self._recorders = {
            name: SeriesRecorder(client, name, clock=clock, host=host, queued=EVENTS) for name in scheduler_names
        }
        self._tasks: asyncio.TaskGroup | None = None
        self._count = 0
        self._room = asyncio.Event()

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """From now on work can be started; it ends with the group."""
        self._tasks = tasks
        for recorder in self._recorders.values():
            tasks.create_task(recorder.run(), name="scheduler: events")

    @property
    def count(self) -> int:
        """How many are on their way."""
        return self._count

    @property
    def are_many(self) -> bool:
        """More than should be on their way at once."""
        return self._count >= MANY

    async def fewer(self) -> None:
        """Return once there are few enough."""
        while self.are_many:
            self._room.clear()
            await self._room.wait()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this in the background."""
        assert self._tasks is not None
        self._count += 1
        self._tasks.create_task(self._counted(work))

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # One write that goes wrong in a way nobody thought of must not end all scheduling.
            log.exception("write failed")
        finally:
            self._count -= 1
            self._room.set()

    def record(
        self, pod: PodInfo, kind: str, reason: str, action: str, message: str, *, related: PodInfo | None = None
    ) -> None:
        """An event about the pod: what was being done (`action`), and what came of it."""
        recorder = self._recorders.get(pod.pod.spec.scheduler_name) or next(iter(self._recorders.values()))
        recorder.record(pod.pod, kind, reason, action, message, related=related.pod if related is not None else None)

    def report(self, pod: PodInfo, reason: str, message: str, nominated: str | None) -> None:
        """Why the pod has no node, as event and condition; `nominated` as in `not_scheduled`."""
        self.record(pod, "Warning", "FailedScheduling", "Scheduling", truncated(message))
        status = not_scheduled(pod.pod, reason, message, nominated, self._clock.now())
        if status is not None:
            self.start(self.patch_status(pod, status))

    async def patch_status(self, pod: PodInfo, status: Json) -> None:
        """Change a pod's status; a failure is logged, the next attempt says it again."""
        try:
            await self._client.patch_status(Pod, pod.key, status, how=Patch.STRATEGIC)
        except ApiError as error:
            log.info("status not written", extra={"pod": str(pod.key), "failure": str(error)})

    async def patch_group(self, key: Key, condition: Json) -> None:
        """The same for a condition of a PodGroup."""
        try:
            await self._client.patch_status(PodGroup, key, {"conditions": [condition]}, how=Patch.STRATEGIC)
        except ApiError as error:
            log.info("group's status not written", extra={"group": str(key), "failure": str(error)})

    async def release(self, claim: ResourceClaim) -> None:
        """Give back the devices of a claim; one that was made for extended resources goes with them."""
        if claim.metadata.annotations.get(ANNOTATION) == "true":
            await delete_written(claim, self._client)
            return
        status = {"allocation": None, "reservedFor": None, "devices": None}
        try:
            await self._client.patch_status(ResourceClaim, claim.key, status)
        except ApiError as error:
            log.info("claim not released", extra={"claim": str(claim.key), "failure": str(error)})
