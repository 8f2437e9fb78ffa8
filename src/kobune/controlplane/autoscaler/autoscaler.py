"""The autoscaler's loop: look, grow for pods that fit nowhere, else shrink by what is not needed, and say how things are."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, NotFound
from kobune.api.objects.core import ConfigMap, Node
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.controlplane.autoscaler import status
from kobune.controlplane.autoscaler.health import Backoff, Counts, count, expected, is_healthy, late_machines
from kobune.controlplane.autoscaler.model import Group, Groups, Settings, World
from kobune.controlplane.autoscaler.removal import RemovalFailed, Remover
from kobune.controlplane.autoscaler.scale_down import Candidate, Unneeded, find_unneeded
from kobune.controlplane.autoscaler.scale_up import ScaleUp, not_triggered_text, plan_scale_up, triggered_text
from kobune.controlplane.autoscaler.taints import (
    CANDIDATE,
    TO_BE_DELETED,
    add_taint,
    drop_taint,
    has_taint,
    plan_marks,
)

log = logging.getLogger(__name__)

EXPENDABLE_PRIORITY = -10  # Pods below it get no node of their own. Source: upstream's flag.


class ClusterAutoscaler:
    """Grows and shrinks groups of nodes.

    Args:
        client: for what it does in the cluster: taints, evictions, events, its status.
        groups: who gives and takes machines.
        observe: the cluster as it is now, to try things on.
        rng: the random expander's.
    """

    def __init__(
        self,
        client: Client,
        groups: Groups,
        observe: Callable[[], Awaitable[World]],
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._groups = groups
        self._observe = observe
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._events = EventRecorder(client, "cluster-autoscaler", clock=clock)
        self._remover = Remover(client, groups, self._events, settings, clock)
        self._unneeded = Unneeded()
        self._backoff = Backoff()
        self._transitions = status.Transitions()
        self._removing: dict[str, bool] = {}  # Nodes on their way out, and whether they had pods.
        self._last_add = self._last_delete = self._last_failure = -float("inf")

    async def run(self) -> None:
        """Scan again and again until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._events.run(), name="events")
            released = False
            while True:
                try:
                    if not released:
                        await self._release_all()
                        released = True
                    await self.scan(tasks)
                except ApiError as failure:
                    log.warning("scan failed", extra={"failure": str(failure)})
                await self._clock.sleep(self._settings.scan_interval)

    async def scan(self, tasks: asyncio.TaskGroup) -> None:
        """One look, and what follows from it. Removals go on in `tasks`."""
        groups, world = await self._groups.read(), await self._observe()
        moment = self._clock.now().timestamp()
        counts = {group.name: count(group, world.nodes, self._settings, moment) for group in groups}
        healthy = is_healthy(list(counts.values()), self._settings)
        if await self._give_back_late(groups, world, moment):
            return  # The targets have changed.
        candidates: Sequence[Candidate] = ()
        if not healthy:
            self._about_itself("ClusterUnhealthy", "Cluster is unhealthy", warning=True)
        else:
            for group in groups:
                world.expect(group.template, expected(group, counts[group.name]))
            if not await self._grow(groups, world):
                candidates = await self._shrink(groups, world, tasks)
        await self._report(groups, counts, candidates, healthy=healthy)

    async def _release_all(self) -> None:
        """Nodes that a removal was interrupted at take pods again, and are looked at anew."""
        for node in (await self._client.list(Node)).items:
            if has_taint(node, TO_BE_DELETED):
                await self._remover.release(node.name)

    async def _give_back_late(self, groups: Sequence[Group], world: World, moment: float) -> bool:
        late: list[str] = []
        for group in groups:
            found = late_machines(group, world.nodes, self._settings, moment)
            if found:
                self._backoff.fail(group.name, self._clock.monotonic())
                minutes = self._settings.max_node_provision_time / 60
                words = f"Nodes added to group {group.name} failed to register within {minutes:g}m"
                self._about_itself("ScaleUpTimedOut", words, warning=True)
                late += found
        if late:
            log.warning("machines that did not become nodes are given back", extra={"machines": late})
            await self._groups.remove(late)
        return bool(late)

    # Up.

    async def _grow(self, groups: Sequence[Group], world: World) -> bool:
        """Grow for the pods that fit nowhere; whether anything grows."""
        now = self._clock.now()
        pods = [
            pod
            for pod in world.pending
            if pod.spec.priority >= EXPENDABLE_PRIORITY
            and (
                pod.metadata.creation_timestamp is None
                or (now - pod.metadata.creation_timestamp).total_seconds() >= self._settings.new_pod_scale_up_delay
            )
        ]
        homeless = world.place(pods)
        if not homeless:
            return False
        backed_off = self._backoff.active(self._clock.monotonic())
        plan = plan_scale_up(world, groups, homeless, self._settings, self._rng, backed_off=backed_off)
        for pod, reasons in plan.refused:
            self._events.normal(pod, "NotTriggerScaleUp", not_triggered_text(reasons))
        if not plan.targets:
            return False
        await self._groups.increase(plan.targets)
        self._tell_growth(plan, {group.name: group for group in groups})
        self._last_add = self._clock.monotonic()
        return True

    def _tell_growth(self, plan: ScaleUp, groups: Mapping[str, Group]) -> None:
        before = {name: groups[name].target for name in plan.targets}
        limits = {name: groups[name].max_size for name in plan.targets}
        words = triggered_text(before, plan.targets, limits)
        for pod in plan.helped:
            self._events.normal(pod, "TriggeredScaleUp", words)
        for name, target in plan.targets.items():
            text = f"Scale-up: setting group {name} size to {target} instead of {before[name]} (max: {limits[name]})"
            self._about_itself("ScaledUpGroup", text)
            log.info("scale-up", extra={"group": name, "from": before[name], "to": target, "pods": len(plan.helped)})

    # Down.

    async def _shrink(self, groups: Sequence[Group], world: World, tasks: asyncio.TaskGroup) -> Sequence[Candidate]:
        """Begin the removal of what is not needed; all that is not needed."""
        verdict = find_unneeded(world, groups, self._settings, self._clock.now())
        now = self._clock.monotonic()
        self._unneeded.update(verdict.candidates, now)
        free = [candidate for candidate in verdict.candidates if candidate.name not in self._removing]
        chosen: Sequence[Candidate] = ()
        if not self._is_cooling(now) and not any(self._removing.values()):
            chosen, _ = self._unneeded.to_remove(free, groups, self._settings, now)
        if not chosen:
            await self._mark(groups, world, free)
        for candidate in chosen:
            self._removing[candidate.name] = bool(candidate.pods)
            self._tell_removal(candidate)
            work = self._remove(world.nodes[candidate.name], candidate)
            tasks.create_task(work, name=f"remove {candidate.name}")
        return verdict.candidates

    async def _mark(self, groups: Sequence[Group], world: World, candidates: Sequence[Candidate]) -> None:
        """Have the scheduler prefer other nodes than those that may soon go."""
        owned = [name for group in groups for name in group.machines if name not in self._removing]
        marks = plan_marks(world.nodes, [candidate.name for candidate in candidates], owned)
        try:
            for name in marks.drop:
                await drop_taint(self._client, name, CANDIDATE)
            for name in marks.add:
                await add_taint(self._client, name, CANDIDATE, self._clock)
        except ApiError as failure:
            log.info("candidates are marked later", extra={"failure": str(failure)})

    def _is_cooling(self, now: float) -> bool:
        settings = self._settings
        return (
            now - self._last_add < settings.scale_down_delay_after_add
            or now - self._last_delete < settings.scale_down_delay_after_delete
            or now - self._last_failure < settings.scale_down_delay_after_failure
        )

    def _tell_removal(self, candidate: Candidate) -> None:
        if candidate.pods:
            pods = ",".join(str(pod.key) for pod in candidate.pods)
            words = f"Scale-down: removing node {candidate.name}, utilization: {candidate.utilization:g}, pods to reschedule: {pods}"
            self._about_itself("ScaleDown", words)
        else:
            self._about_itself("ScaleDownEmpty", f'Scale-down: removing empty node "{candidate.name}"')

    async def _remove(self, node: Node, candidate: Candidate) -> None:
        try:
            await self._remover.remove(node, candidate)
            self._last_delete = self._clock.monotonic()
        except (RemovalFailed, ApiError) as failure:
            self._last_failure = self._clock.monotonic()
            log.warning("scale-down failed", extra={"node": candidate.name, "failure": str(failure)})
        finally:
            self._removing.pop(candidate.name, None)

    # Words.

    def _about_itself(self, reason: str, message: str, *, warning: bool = False) -> None:
        about = ConfigMap()
        about.metadata.name, about.metadata.namespace = status.NAME, status.NAMESPACE
        self._events.record(about, "Warning" if warning else "Normal", reason, message)

    async def _report(
        self, groups: Sequence[Group], counts: Mapping[str, Counts], candidates: Sequence[Candidate], *, healthy: bool
    ) -> None:
        now = self._clock.now()
        backed_off = self._backoff.active(self._clock.monotonic())
        reports = {}
        for group in groups:
            state = "Backoff" if group.name in backed_off else "NoActivity"
            if state == "NoActivity" and expected(group, counts[group.name]):
                state = "InProgress"
            unneeded = sum(candidate.group == group.name for candidate in candidates)
            leaving = sum(name in group.machines for name in self._removing)
            reports[group.name] = status.GroupReport(group, counts[group.name], state, unneeded, leaving)
        manifest = status.render(
            reports,
            healthy=healthy,
            now=format_time(now),
            shown=f"{now:%Y-%m-%d %H:%M:%S.%f} +0000 UTC",
            transitions=self._transitions,
        )
        try:
            await self._client.patch(ConfigMap, Key(status.NAMESPACE, status.NAME), manifest)
        except NotFound:
            await self._client.create(ConfigMap, manifest)
