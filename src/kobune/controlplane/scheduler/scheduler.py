"""kube-scheduler: picks nodes for pods, one at a time and without waiting, and binds them concurrently."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from functools import partial

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Conflict, NotFound
from kobune.api.features import GENERIC_WORKLOAD
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Object
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client, Patch
from kobune.client.informer import Informer
from kobune.controlplane.scheduler.after_filters import Outcome, after_filters
from kobune.controlplane.scheduler.configuration import DEFAULT, Configuration
from kobune.controlplane.scheduler.diagnosis import Diagnosis
from kobune.controlplane.scheduler.events import ClusterEvent
from kobune.controlplane.scheduler.extended_choice import choose_with_extenders
from kobune.controlplane.scheduler.extended_eviction import ask_about_evictions
from kobune.controlplane.scheduler.extender import Extender, ExtenderError, bound_by_extender, open_extenders
from kobune.controlplane.scheduler.group_attempts import GroupAttempts
from kobune.controlplane.scheduler.ingest import Ingest
from kobune.controlplane.scheduler.listers import GATED, KINDS, Listers
from kobune.controlplane.scheduler.metrics import SchedulerMetrics, attempts_label, set_pending
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.observe import served_kinds
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.preemption import Room
from kobune.controlplane.scheduler.profiles import Running, build_profiles
from kobune.controlplane.scheduler.queue import QueuedPod, SchedulingQueue
from kobune.controlplane.scheduler.reports import SCHEDULER_ERROR, UNSCHEDULABLE, preempted
from kobune.controlplane.scheduler.writes import Writes

log = logging.getLogger(__name__)

SLICE_SECONDS = 0.002  # How long pods are picked before others in the event loop get their turn.
TICK_SECONDS = 1.0
RUNNING_PODS = "status.phase!=Succeeded,status.phase!=Failed"


class Scheduler:
    """One scheduler, with any number of profiles. `run` is its only task."""

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        rng: random.Random,
        config: Configuration = DEFAULT,
        host: str = "",  # The machine's name, for its events.
    ) -> None:
        self._client, self.clock, self._rng = client, clock, rng
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
        self.writes = Writes(client, clock, self.profiles.keys(), host=host)
        self.metrics = SchedulerMetrics()
        self.diagnoses: dict[str, Diagnosis] = {}  # By uid, of pods that fitted nowhere when last tried.
        self._ready = asyncio.Event()
        self.queue.on_ready = self._ready.set
        self.queue.on_incoming = self.metrics.incoming.add
        self.has_synced = False  # Everything that was there at the start has been seen.
        self._ingest.on_gone = self._forget_diagnosis
        self._ingest.on_classes_changed = self._forget_verdicts
        self._features = config.features
        self._tries_groups = GENERIC_WORKLOAD in config.features
        self._groups = GroupAttempts(self)
        self._extender_configs = config.extenders
        self._extenders: tuple[Extender, ...] = ()

    async def run(self) -> None:
        """Schedule for ever."""
        served = [name for name in await served_kinds(self._client) if GATED.get(name, "") in ("", *self._features)]
        pods = Informer(self._client, Pod, fields=RUNNING_PODS, clock=self.clock, rng=self._rng)
        nodes = Informer(self._client, Node, clock=self.clock, rng=self._rng)
        others: dict[str, Informer[Object]] = {
            name: Informer(self._client, KINDS[name], clock=self.clock, rng=self._rng) for name in served
        }
        async with AsyncExitStack() as stack:
            self._extenders = await open_extenders(self._extender_configs, self._client, stack)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            self.writes.begin(tasks)
            for name, informer in others.items():
                setattr(self.listers, name, informer.items)
                informer.on_change(self._ingest.other_changed(KINDS[name].gvk.kind))
                tasks.create_task(informer.run(), name=f"scheduler: watch {name}")
            nodes.on_change(self._ingest.node_changed)
            tasks.create_task(nodes.run(), name="scheduler: watch nodes")
            for informer in others.values():
                await informer.synced()
            await nodes.synced()
            pods.on_change(self._ingest.pod_changed)
            tasks.create_task(pods.run(), name="scheduler: watch pods")
            log.info("scheduler started", extra={"profiles": [*self.profiles]})
            await pods.synced()
            self.has_synced = True
            tasks.create_task(self._tick(), name="scheduler: back-off")
            await self._schedule()

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_SECONDS)
            self.queue.tick()

    # The cycle.

    async def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.time()
        while True:
            if self.writes.are_many:
                await self.writes.fewer()
                turn = loop.time()
            queued = self.queue.pop()
            if queued is None:
                self._ready.clear()
                await self._ready.wait()
                turn = loop.time()
                continue
            try:
                if self._tries_groups and queued.pod.pod.spec.scheduling_group is not None:
                    await self._groups.attempt(queued)
                elif self._extenders:
                    await self._attempt_with_extenders(queued)
                else:
                    self.attempt(queued)
            except Exception:
                # One pod that cannot be judged must not keep all others from being placed.
                log.exception("scheduling failed", extra={"pod": str(queued.pod.key)})
                self.queue.failed(queued)
            if loop.time() - turn > SLICE_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()

    def attempt(self, queued: QueuedPod) -> None:
        """Try one pod: pick a node and start binding, or park it and say why."""
        pod = queued.pod
        running = self.profiles[pod.pod.spec.scheduler_name]
        if self.is_skipped(queued):
            return
        began = self.clock.monotonic()
        row = running.profile.find_node(pod, self.table, self.nominated, self._rng)
        self.metrics.algorithm_seconds.observe(self.clock.monotonic() - began)
        if row is None:
            self._refuse(queued, running)
            self.count_attempt("unschedulable", pod, began)
            return
        self.place(queued, running, row, began)

    def place(self, queued: QueuedPod, running: Running, row: int, began: float) -> None:
        """The pod goes to this node: count it there and start binding."""
        pod, node_name = queued.pod, self.table.names[row]
        self.diagnoses.pop(pod.uid, None)
        for plugin in running.reserves:
            plugin.reserve(pod, self.table, row)
        self._ingest.assume(pod, node_name)
        self.writes.start(self._bind(queued, node_name, running, began))

    def is_skipped(self, queued: QueuedPod) -> bool:
        """Whether the pod is being deleted: it is not placed any more."""
        pod = queued.pod
        if pod.deleting:
            self.writes.record(
                pod, "Warning", "FailedScheduling", "Scheduling", f"skip schedule deleting pod: {pod.key}"
            )
            self.queue.remove(pod.uid)
        return pod.deleting

    async def _attempt_with_extenders(self, queued: QueuedPod) -> None:
        """Try one pod, asking the extenders about the nodes that the plugins accept."""
        pod = queued.pod
        running = self.profiles[pod.pod.spec.scheduler_name]
        began = self.clock.monotonic()
        if self.is_skipped(queued):
            return
        try:
            found = await self.find(pod, running)
        except ExtenderError as error:
            self.fail(queued, str(error), began)
            return
        if self.queue.get(pod.uid) is not queued:
            return  # Deleted while the extenders were asked.
        if isinstance(found, Outcome):
            self._follow(queued, running, found, began)
            self.count_attempt("unschedulable", pod, began)
        elif running.profile.accepts_beside(pod, self.table, found, self.nominated):
            self.place(queued, running, found, began)
        else:
            self.queue.failed(queued)  # The node has changed meanwhile.

    async def find(self, pod: PodInfo, running: Running) -> int | Outcome:
        """The row of the best node, or what can be done when there is none. Waits only for extenders; raises ExtenderError."""
        profile = running.profile
        if not self._extenders:
            row = profile.find_node(pod, self.table, self.nominated, self._rng)
            return self._after_filters(pod, running, self._diagnose(pod, running)) if row is None else row
        feasible = profile.feasible(pod, self.table, self.nominated)
        if feasible.any():
            found = await choose_with_extenders(pod, self.table, profile, feasible, self._extenders, self._rng)
            if not isinstance(found, Diagnosis):
                return found
        else:
            found = self._diagnose(pod, running)
        outcome = self._after_filters(pod, running, found)
        return await ask_about_evictions(outcome, pod, self.table, self._extenders)

    def fail(self, queued: QueuedPod, message: str, began: float) -> None:
        """The attempt ended in an error: say so, and try again after a pause."""
        self.count_attempt("error", queued.pod, began)
        self.queue.failed(queued)
        self.writes.report(queued.pod, SCHEDULER_ERROR, message, None)

    def _refuse(self, queued: QueuedPod, running: Running) -> None:
        """No node will do: make room if that helps, park the pod, and say why."""
        began = self.clock.monotonic()
        outcome = self._after_filters(queued.pod, running, self._diagnose(queued.pod, running))
        self._follow(queued, running, outcome, began)

    def _diagnose(self, pod: PodInfo, running: Running) -> Diagnosis:
        return running.profile.diagnose(pod, self.table, self.nominated)

    def _after_filters(self, pod: PodInfo, running: Running, diagnosis: Diagnosis) -> Outcome:
        if not diagnosis.nodes:
            return Outcome(diagnosis)
        budgets = list(self.listers.disruption_budgets.values())
        return after_filters(pod, self.table, self.nominated, running, diagnosis, budgets, self._rng)

    def _follow(self, queued: QueuedPod, running: Running, outcome: Outcome, began: float) -> None:
        """Do what is to be done for a pod that fits nowhere, and park it."""
        pod = queued.pod
        if outcome.tried_eviction:
            self.metrics.preemptions.add()
        if outcome.room is not None:
            self.evict(pod, outcome.room, running)
        if outcome.released is not None:
            self.writes.start(self.writes.release(outcome.released))
        if outcome.diagnosis.nodes:
            self._observe_point("PostFilter", "Success" if outcome.room else "Unschedulable", pod, began)
        if outcome.nominated is not None:
            self.nominated.put(pod, outcome.nominated)
        self._give_up(queued, outcome.diagnosis, outcome.nominated)

    def _give_up(self, queued: QueuedPod, diagnosis: Diagnosis, nominated: str | None) -> None:
        """Park the pod until something may help it, and say why."""
        self.diagnoses[queued.pod.uid] = diagnosis
        self.queue.refused(queued, diagnosis.plugins)
        self.writes.report(queued.pod, UNSCHEDULABLE, diagnosis.message(), nominated)

    def count_attempt(self, result: str, pod: PodInfo, began: float) -> None:
        """For the metrics: "scheduled", "unschedulable" or "error", and how long it took."""
        name = pod.pod.spec.scheduler_name
        self.metrics.attempts.add(result, name)
        self.metrics.attempt_seconds.observe(self.clock.monotonic() - began, result, name)

    def _observe_point(self, point: str, status: str, pod: PodInfo, began: float) -> None:
        seconds = self.clock.monotonic() - began
        self.metrics.extension_point_seconds.observe(seconds, point, status, pod.pod.spec.scheduler_name)

    def _observe_plugin(self, plugin: str, point: str, began: float) -> None:
        self.metrics.plugin_seconds.observe(self.clock.monotonic() - began, plugin, point, "Success")

    def render_metrics(self) -> str:
        """The text of /metrics."""
        metrics = self.metrics
        set_pending(metrics.pending, self.queue.counts)
        metrics.cache_size.set("nodes", to=len(self.table))
        metrics.cache_size.set("pods", to=int(self.table.pod_count.sum()))
        metrics.cache_size.set("assumed_pods", to=len(self._ingest.assumed))
        metrics.goroutines.set("binding", to=self.writes.count)
        metrics.unschedulable.values.clear()
        for queued in self.queue.pods():
            for plugin in queued.plugins:
                metrics.unschedulable.add(plugin, queued.pod.pod.spec.scheduler_name)
        return metrics.render()

    def evict(self, pod: PodInfo, room: Room, running: Running) -> None:
        """Start the evictions that make room for the pod; it is not tried again before they are under way."""
        victims = [victim for victim in room.victims if not victim.deleting]
        displaced = [one for one in self.nominated.on(room.node_name) if one.priority < pod.priority]
        self.metrics.victims.observe(len(room.victims))
        if running.preempting is not None and victims:
            running.preempting.evicting_for.add(pod.uid)
        self.writes.start(self._make_room(pod, room.node_name, victims, displaced, running))

    async def _make_room(
        self, pod: PodInfo, node_name: str, victims: list[PodInfo], displaced: list[PodInfo], running: Running
    ) -> None:
        succeeded, began = True, self.clock.monotonic()
        for other in displaced:
            # Less important pods expected on that node look for another one.
            self.nominated.remove(other.uid)
            await self.writes.patch_status(other, {"nominatedNodeName": None})
        try:
            async with asyncio.TaskGroup() as tasks:
                for victim in victims:
                    tasks.create_task(self._evict_one(victim, pod, node_name), name=f"evict {victim.key}")
        except* ApiError as errors:
            succeeded = False
            log.info("eviction failed", extra={"for": str(pod.key), "failure": str(errors.exceptions[0])})
        result = "success" if succeeded else "error"
        self.metrics.evictions.add(result)
        self.metrics.eviction_seconds.observe(self.clock.monotonic() - began, result)
        if running.preempting is not None:
            running.preempting.evicting_for.discard(pod.uid)
        row = self.table.row_of.get(node_name)
        waits = succeeded and row is not None and any(one.uid in self.table.pods[row] for one in victims)
        self.queue.release(pod.uid, retry=not waits)
        self.queue.activate(other.uid for other in displaced)

    async def _evict_one(self, victim: PodInfo, pod: PodInfo, node_name: str) -> None:
        name = pod.pod.spec.scheduler_name
        status = preempted(name, victim.pod.metadata.generation, self.clock.now())
        try:
            await self._client.patch_status(Pod, victim.key, status, how=Patch.STRATEGIC)
            await self._client.delete(Pod, victim.key, uid=victim.uid)
        except (NotFound, Conflict):
            return  # Gone already, or another pod of that name.
        message = f"Preempted by pod {pod.uid} on node {node_name}"
        self.writes.record(victim, "Normal", "Preempted", "Preempting", message, related=pod)

    async def _bind(self, queued: QueuedPod, node_name: str, running: Running, began: float) -> None:
        pod = queued.pod
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node_name},
        }
        doing = 'Bind plugin "DefaultBinder"'
        binding_began = self.clock.monotonic()
        try:
            for plugin in running.reserves:
                if plugin.prepares(pod):
                    doing = f'PreBind plugin "{plugin.name}"'
                    tell = partial(self.writes.record, pod, "Normal")
                    preparing = self.clock.monotonic()
                    await plugin.prepare(pod, node_name, self._client, self.clock, tell)
                    self._observe_plugin(plugin.name, "PreBind", preparing)
                    self._observe_point("PreBind", "Success", pod, preparing)
            if not await bound_by_extender(self._extenders, pod, node_name):
                writing = self.clock.monotonic()
                await self._client.create_subresource(Pod, pod.key, "binding", binding)
                self._observe_plugin("DefaultBinder", "Bind", writing)
        except (ApiError, ExtenderError) as error:
            for plugin in running.reserves:
                plugin.unreserve(pod)
            self._ingest.forget(pod)
            if isinstance(error, NotFound):
                self.queue.remove(pod.uid)
                return
            log.info("binding failed", extra={"pod": str(pod.key), "node": node_name, "failure": str(error)})
            self.count_attempt("error", pod, began)
            self._observe_point("Bind", "Error", pod, binding_began)
            self.queue.failed(queued)
            self.writes.report(pod, SCHEDULER_ERROR, f"running {doing}: {error}", None)
            return
        self.queue.done(pod.uid)
        now = self.clock.monotonic()
        self._observe_point("Bind", "Success", pod, binding_began)
        self.count_attempt("scheduled", pod, began)
        self.metrics.pod_attempts.observe(queued.attempts)
        if queued.was_flushed:
            self.metrics.after_flush.add()
        self.metrics.sli_seconds.observe(now - queued.first_attempt, attempts_label(queued.attempts))
        self.writes.record(pod, "Normal", "Scheduled", "Binding", f"Successfully assigned {pod.key} to {node_name}")

    # What the queue asks.

    def _gate(self, pod: PodInfo) -> str:
        return self.profiles[pod.pod.spec.scheduler_name].gate(pod)

    def _helps(self, plugin: str, event: ClusterEvent, pod: PodInfo) -> bool:
        return self.profiles[pod.pod.spec.scheduler_name].helps(plugin, event, pod)

    def _forget_verdicts(self) -> None:
        for running in self.profiles.values():
            running.profile.forget()

    def _forget_diagnosis(self, pod: PodInfo) -> None:
        self.diagnoses.pop(pod.uid, None)
