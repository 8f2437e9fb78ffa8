"""Watches the node's resources and has pods ended by what `eviction` decides."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.client.events import EventRecorder
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.containers import log_directory
from kobune.node.kubelet.eviction import DISK, MEMORY, Eviction, Usage, choose_victim, find_hogs, find_pressures
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.pod_worker import Ending, PodWorker
from kobune.node.kubelet.runtime_state import RuntimeState
from kobune.node.kubelet.status import Verdict
from kobune.node.kubelet.volumes.manager import Volumes, directory_bytes
from kobune.node.kubelet.volumes.volume import Offload
from kobune.node.runtime.runtime import ContainerStats, Runtime, RuntimeFailure, State

log = logging.getLogger(__name__)

DISK_USE_SECONDS = 60.0  # Between two walks through what pods have written; a walk reads every directory.


class EvictionManager:
    """Looks, decides and ends.

    Args:
        workers: the node's pods by uid.
        disk: the node's file system, as `server.stats.disk_stats` reads it.
        notify: told an event about the node; pressure_changed: told when `pressures` has changed.
    """

    def __init__(
        self,
        config: KubeletConfig,
        runtime: Runtime,
        state: RuntimeState,
        volumes: Volumes,
        recorder: EventRecorder,
        workers: Mapping[str, PodWorker],
        disk: Callable[[], Json],
        notify: Callable[[str, str], None],
        pressure_changed: Callable[[], None],
        *,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._state = state
        self._volumes = volumes
        self._recorder = recorder
        self._workers = workers
        self._disk = disk
        self._notify = notify
        self._pressure_changed = pressure_changed
        self._clock = clock
        self._offload = offload
        self._last_seen: dict[str, float] = {}  # When each pressure last held.
        self._disk_use: dict[str, tuple[Mapping[str, int], Mapping[str, int]]] = {}
        self._disk_use_at: float | None = None

    @property
    def pressures(self) -> frozenset[str]:
        """Conditions that hold, or held so recently that they still count."""
        now, keep = self._clock.monotonic(), self._config.eviction.pressure_transition_seconds
        return frozenset(kind for kind, at in self._last_seen.items() if now - at < keep)

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            await self._clock.sleep(self._config.eviction.check_seconds)
            try:
                await self.check()
            except (RuntimeFailure, TimeoutError) as error:
                log.warning("usage not known", extra={"error": str(error)})

    async def check(self) -> None:
        """One look; at most one pod is ended for pressure, so that its end can take effect first."""
        pods = [worker.pod for worker in self._workers.values() if not worker.is_ending]
        stats = await self._runtime.stats()
        usage = await self._usage(pods, stats)
        for eviction in find_hogs(pods, usage):
            self._evict(eviction)
        total = sum(each.memory_working_set_bytes for each in stats)
        found = find_pressures(self._config, total, self._disk(), pids_free_share())
        before = self.pressures
        for pressure in found:
            self._last_seen[pressure.condition] = self._clock.monotonic()
        if self.pressures != before:
            self._pressure_changed()
        if not found:
            return
        # Memory first: it is what kills others soonest.
        pressure = min(
            found, key=lambda each: (MEMORY, DISK).index(each.condition) if each.condition in (MEMORY, DISK) else 2
        )
        self._notify("EvictionThresholdMet", f"Attempting to reclaim {pressure.resource}")
        left = [pod for pod in pods if not self._workers[pod.uid].is_ending]
        victim = choose_victim(pressure, left, usage)
        if victim is not None:
            self._evict(victim)

    def _evict(self, eviction: Eviction) -> None:
        log.info("evicting", extra={"pod": str(eviction.pod.key), "why": eviction.message})
        self._recorder.warning(eviction.pod, "Evicted", eviction.message)
        verdict = Verdict("Evicted", eviction.message, disruption=True)
        # Nothing to wait for: a hard threshold leaves no time. Source: upstream, immediate eviction.
        self._workers[eviction.pod.uid].end(Ending(0, verdict, hooks=False))

    async def _usage(self, pods: list[Pod], stats: Sequence[ContainerStats]) -> dict[str, Usage]:
        by_id = {each.container_id: each for each in stats}
        now = self._clock.monotonic()
        if self._disk_use_at is None or now - self._disk_use_at >= DISK_USE_SECONDS:
            self._disk_use = {pod.uid: await self._walk(pod) for pod in pods}
            self._disk_use_at = now
        result = {}
        for pod in pods:
            running = [each for each in self._state.pod(pod.uid).containers if each.state is State.RUNNING]
            memory = {each.name: by_id[each.id].memory_working_set_bytes for each in running if each.id in by_id}
            layers = {each.name: by_id[each.id].rootfs_used_bytes for each in running if each.id in by_id}
            logs, volumes = self._disk_use.get(pod.uid, ({}, {}))
            disk = {name: layers.get(name, 0) + logs.get(name, 0) for name in layers.keys() | logs.keys()}
            result[pod.uid] = Usage(memory, disk, volumes)
        return result

    async def _walk(self, pod: Pod) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """(bytes of logs by container, bytes of emptyDirs by volume)"""
        root = log_directory(pod, self._config)
        names = [each.name for each in pod.all_containers()]
        sizes = await self._offload(lambda: [directory_bytes(root / name) for name in names])
        return dict(zip(names, sizes, strict=True)), await self._volumes.used_bytes(pod)


def pids_free_share() -> float:
    """The share of the machine's process ids that is free."""
    try:
        most = int(Path("/proc/sys/kernel/pid_max").read_text())
        running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
    except (OSError, ValueError, IndexError):
        return 1.0
    return 1 - running / most
