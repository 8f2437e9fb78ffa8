"""kube-scheduler: picks nodes for pods, one at a time and without waiting, and binds them concurrently."""

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, NotFound
from kobune.api.objects.core import Node, Pod
from kobune.api.objects.meta import Object
from kobune.client.client import Client, Patch
from kobune.client.events import EventRecorder
from kobune.client.informer import Informer
from kobune.controlplane.scheduler.configuration import DEFAULT, Configuration
from kobune.controlplane.scheduler.diagnosis import Diagnosis
from kobune.controlplane.scheduler.events import ClusterEvent
from kobune.controlplane.scheduler.ingest import Ingest
from kobune.controlplane.scheduler.listers import KINDS, Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.profiles import build_profiles
from kobune.controlplane.scheduler.queue import QueuedPod, SchedulingQueue
from kobune.controlplane.scheduler.reports import SCHEDULER_ERROR, UNSCHEDULABLE, not_scheduled, truncated

log = logging.getLogger(__name__)

BINDINGS = 256  # Writes on their way at once; with more, picking waits.
SLICE_SECONDS = 0.002  # How long pods are picked before others in the event loop get their turn.
SYNC_SECONDS = 10.0  # How long to wait for kinds that the API server may not serve.
TICK_SECONDS = 1.0
RUNNING_PODS = "status.phase!=Succeeded,status.phase!=Failed"


class Scheduler:
    """One scheduler, with any number of profiles. `run` is its only task."""

    def __init__(self, client: Client, *, clock: Clock, rng: random.Random, config: Configuration = DEFAULT) -> None:
        self._client, self._clock, self._rng = client, clock, rng
        self.table = NodeTable()
        self.nominated = Nominations()
        self.listers = Listers()
        self.profiles = build_profiles(config, self.listers)
        self.queue = SchedulingQueue(
            clock,
            gate=self._gate,
            helps=self._helps,
            first_backoff=config.pod_initial_backoff_seconds,
            max_backoff=config.pod_max_backoff_seconds,
        )
        self._ingest = Ingest(
            self.table, self.queue, self.nominated, self.listers, scheduler_names=self.profiles.keys()
        )
        self._recorders = {name: EventRecorder(client, name, clock=clock) for name in self.profiles}
        self.diagnoses: dict[str, Diagnosis] = {}  # By uid, of pods that fitted nowhere when last tried.
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._writes = 0
        self.queue.on_ready = self._ready.set
        self._ingest.on_gone = self._forget_diagnosis

    async def run(self) -> None:
        """Schedule for ever."""
        pods = Informer(self._client, Pod, fields=RUNNING_PODS, clock=self._clock, rng=self._rng)
        nodes = Informer(self._client, Node, clock=self._clock, rng=self._rng)
        others: dict[str, Informer[Object]] = {
            name: Informer(self._client, view, clock=self._clock, rng=self._rng) for name, view in KINDS.items()
        }
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for name, informer in others.items():
                setattr(self.listers, name, informer.items)
                informer.on_change(self._ingest.other_changed(KINDS[name].gvk.kind))
                tasks.create_task(informer.run(), name=f"scheduler: watch {name}")
            nodes.on_change(self._ingest.node_changed)
            tasks.create_task(nodes.run(), name="scheduler: watch nodes")
            for recorder in self._recorders.values():
                tasks.create_task(recorder.run(), name="scheduler: events")
            await self._wait_for(others)
            await nodes.synced()
            pods.on_change(self._ingest.pod_changed)
            tasks.create_task(pods.run(), name="scheduler: watch pods")
            await pods.synced()
            tasks.create_task(self._tick(), name="scheduler: back-off")
            await self._schedule()

    async def _wait_for(self, informers: dict[str, Informer[Object]]) -> None:
        """Wait for the first lists; a kind that is not served counts as having no objects."""

        async def all_synced() -> None:
            for informer in informers.values():
                await informer.synced()

        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await all_synced()
        except TimeoutError:
            missing = [name for name, informer in informers.items() if not informer.has_synced]
            log.warning("going on without some kinds", extra={"kinds": missing})

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(TICK_SECONDS)
            self.queue.tick()

    # The cycle.

    async def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.time()
        while True:
            while self._writes >= BINDINGS:
                self._room.clear()
                await self._room.wait()
                turn = loop.time()
            queued = self.queue.pop()
            if queued is None:
                self._ready.clear()
                await self._ready.wait()
                turn = loop.time()
                continue
            self.attempt(queued)
            if loop.time() - turn > SLICE_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()

    def attempt(self, queued: QueuedPod) -> None:
        """Try one pod: pick a node and start binding, or park it and say why."""
        pod = queued.pod
        profile = self.profiles[pod.pod.spec.scheduler_name].profile
        if pod.deleting:
            self._record(pod, "Warning", "FailedScheduling", f"skip schedule deleting pod: {pod.key}")
            self.queue.remove(pod.uid)
            return
        row = profile.find_node(pod, self.table, self.nominated, self._rng)
        if row is None:
            self._refuse(queued, profile.diagnose(pod, self.table, self.nominated))
            return
        node_name = self.table.names[row]
        self.diagnoses.pop(pod.uid, None)
        self._ingest.assume(pod, node_name)
        self._write(self._bind(queued, node_name))

    def _refuse(self, queued: QueuedPod, diagnosis: Diagnosis) -> None:
        self.diagnoses[queued.pod.uid] = diagnosis
        self.queue.refused(queued, diagnosis.plugins)
        self._report(queued.pod, UNSCHEDULABLE, diagnosis.message(), None)

    def _report(self, pod: PodInfo, reason: str, message: str, nominated: str | None) -> None:
        self._record(pod, "Warning", "FailedScheduling", truncated(message))
        status = not_scheduled(pod.pod, reason, message, nominated, self._clock.now())
        if status is not None:
            self._write(self._patch_status(pod, status))

    def _record(self, pod: PodInfo, kind: str, reason: str, message: str) -> None:
        self._recorders[pod.pod.spec.scheduler_name].record(pod.pod, kind, reason, message)

    # Writes.

    def _write(self, work: Coroutine[Any, Any, None]) -> None:
        self._writes += 1
        self._tasks.create_task(self._counted(work))

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._writes -= 1
            self._room.set()

    async def _bind(self, queued: QueuedPod, node_name: str) -> None:
        pod = queued.pod
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node_name},
        }
        try:
            await self._client.create_subresource(Pod, pod.key, "binding", binding)
        except ApiError as error:
            self._ingest.forget(pod)
            if isinstance(error, NotFound):
                self.queue.remove(pod.uid)
                return
            log.info("binding failed", extra={"pod": str(pod.key), "node": node_name, "failure": str(error)})
            self.queue.failed(queued)
            self._report(pod, SCHEDULER_ERROR, f'running Bind plugin "DefaultBinder": {error}', None)
            return
        self.queue.done(pod.uid)
        self._record(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node_name}")

    async def _patch_status(self, pod: PodInfo, status: dict[str, Any]) -> None:
        try:
            await self._client.patch_status(Pod, pod.key, status, how=Patch.STRATEGIC)
        except ApiError as error:
            log.info("status not written", extra={"pod": str(pod.key), "failure": str(error)})

    # What the queue asks.

    def _gate(self, pod: PodInfo) -> str:
        return self.profiles[pod.pod.spec.scheduler_name].gate(pod)

    def _helps(self, plugin: str, event: ClusterEvent, pod: PodInfo) -> bool:
        return self.profiles[pod.pod.spec.scheduler_name].helps(plugin, event, pod)

    def _forget_diagnosis(self, pod: PodInfo) -> None:
        self.diagnoses.pop(pod.uid, None)
