"""The probes of one pod's running containers, and what their outcomes mean. Source: upstream pkg/kubelet/prober."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kobune.node.kubelet.plan import Condemned
from kobune.node.kubelet.pod import Container, Pod, Probe, field_path
from kobune.node.kubelet.probe_actions import Client, attempt
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.kubelet.services import Services
from kobune.node.runtime import runtime as cri
from kobune.node.runtime.runtime import State

# Until it first succeeds, a readiness or startup probe is tried more often than its period, so that a server which is
# up in no time does not wait out a whole period. These extra attempts count neither as failures nor make events.
EAGER_SECONDS = (0.2, 0.5, 1.0)


@dataclass(slots=True)
class _Watched:
    """A running container and the tasks that probe it."""

    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    ready: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)
    condemned: str = ""  # "liveness" or "startup".


class _Sort(NamedTuple):
    name: str  # As in events.
    kind: str


LIVENESS, READINESS, STARTUP = (
    _Sort("Liveness", "liveness"),
    _Sort("Readiness", "readiness"),
    _Sort("Startup", "startup"),
)


class Probes:
    """Probes the containers that run, each in tasks of its own.

    Args:
        on_change: called when an outcome changes what the pod's status or next step is.
    """

    def __init__(self, services: Services, client: Client, on_change: Callable[[], None]) -> None:
        self._services = services
        self._client = client
        self._on_change = on_change
        self._watched: dict[str, _Watched] = {}  # By container id.

    @property
    def started(self) -> frozenset[str]:
        """Running containers past their startup probe."""
        return frozenset(each for each, watched in self._watched.items() if watched.started.is_set())

    @property
    def ready(self) -> frozenset[str]:
        return frozenset(each for each, watched in self._watched.items() if watched.ready and watched.started.is_set())

    @property
    def condemned(self) -> Condemned:
        """Containers to be killed for a failed probe."""
        by = {
            kind: frozenset(each for each, it in self._watched.items() if it.condemned == kind)
            for kind in ("liveness", "startup")
        }
        return Condemned(by["liveness"], by["startup"])

    def follow(
        self, pod: Pod, state: PodState, pod_ip: str, tasks: asyncio.TaskGroup, *, held: Iterable[str] = ()
    ) -> None:
        """Probe exactly the containers that run now.

        Args:
            held: ids of containers whose postStart hook still runs; they are looked at later.
        """
        running = {each.id: each for each in state.containers if each.state is State.RUNNING}
        for gone in [each for each in self._watched if each not in running]:
            for task in self._watched.pop(gone).tasks:
                task.cancel()
        for record in running.values():
            container = pod.find_container(record.name)
            if container is not None and record.id not in self._watched and record.id not in held:
                self._watch(pod, container, record, pod_ip, tasks)

    def stop(self, *, keep_readiness: bool = False) -> None:
        """The pod is ending: nothing is condemned any more."""
        for watched in self._watched.values():
            watched.condemned = ""
            for task in watched.tasks:
                if not (keep_readiness and task.get_name().startswith("Readiness")):
                    task.cancel()

    def _watch(
        self, pod: Pod, container: Container, record: cri.Container, pod_ip: str, tasks: asyncio.TaskGroup
    ) -> None:
        watched = self._watched[record.id] = _Watched()
        before = _reported(pod, record.id)  # By the last kubelet, when this one has just been started.
        watched.ready = container.readiness_probe is None or bool(before.get("ready"))
        if container.startup_probe is None or before.get("started"):
            watched.started.set()
        for sort, probe in (
            (STARTUP, container.startup_probe),
            (READINESS, container.readiness_probe),
            (LIVENESS, container.liveness_probe),
        ):
            if probe is not None and not (sort is STARTUP and watched.started.is_set()):
                work = self._probe(pod, container, record, probe, sort, watched, pod_ip)
                watched.tasks.append(tasks.create_task(work, name=f"{sort.name} probe of {pod.key} {container.name}"))

    async def _probe(
        self,
        pod: Pod,
        container: Container,
        record: cri.Container,
        probe: Probe,
        sort: _Sort,
        watched: _Watched,
        pod_ip: str,
    ) -> None:
        clock = self._services.clock
        if sort is not STARTUP:
            await watched.started.wait()
        age = (clock.now() - (record.started or record.created)).total_seconds()
        await clock.sleep(max(0.0, probe.initial_delay_seconds - age))
        period = max(1, probe.period_seconds)
        run, last = 0, None
        while True:
            if last is None and sort is not LIVENESS and not watched.ready:
                await self._eagerly(probe, container, record.id, pod_ip, period)
            outcome = await attempt(self._client, probe, container, record.id, pod_ip)
            run = run + 1 if outcome.success == last else 1
            last = outcome.success
            if not outcome.success:
                self._note(pod, container, "Unhealthy", f"{sort.name} probe failed: {outcome.output}")
            elif outcome.warning:
                self._note(pod, container, "ProbeWarning", f"{sort.name} probe warning: {outcome.output}")
            needed = probe.success_threshold if outcome.success else probe.failure_threshold
            if run >= max(1, needed):
                self._conclude(sort, watched, success=outcome.success)
                if watched.condemned or (sort is STARTUP and outcome.success):
                    return
            await clock.sleep(period)

    async def _eagerly(self, probe: Probe, container: Container, container_id: str, pod_ip: str, period: int) -> None:
        """Return at the first success, or when the period is over."""
        clock = self._services.clock
        end = clock.monotonic() + period
        pauses = iter(EAGER_SECONDS)
        while clock.monotonic() < end:
            if (await attempt(self._client, probe, container, container_id, pod_ip)).success:
                return
            await clock.sleep(min(next(pauses, EAGER_SECONDS[-1]), max(0.0, end - clock.monotonic())))

    def _conclude(self, sort: _Sort, watched: _Watched, *, success: bool) -> None:
        if sort is READINESS:
            changed, watched.ready = watched.ready != success, success
        elif sort is STARTUP and success:
            changed = not watched.started.is_set()
            watched.started.set()
        elif success:
            return
        else:
            changed, watched.condemned = True, sort.kind
        if changed:
            self._on_change()

    def _note(self, pod: Pod, container: Container, reason: str, message: str) -> None:
        self._services.recorder.warning(pod, reason, message, field_path=field_path(pod, container.name))


def _reported(pod: Pod, container_id: str) -> dict[str, object]:
    for name in ("containerStatuses", "initContainerStatuses"):
        for status in pod.status.get(name) or ():
            if str(status.get("containerID", "")).endswith(f"//{container_id}"):
                return dict(status)
    return {}
