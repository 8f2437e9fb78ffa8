"""DefaultPreemption: what is asked of it beside making room, namely to keep a pod from being tried while that goes on."""

from kobune.controlplane.scheduler.events import ClusterEvent
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.preemption import Limits


class DefaultPreemption:
    name = "DefaultPreemption"

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.evicting_for: set[str] = set()  # Uids of pods for which evictions are on their way.

    def gate(self, pod: PodInfo) -> str:
        waiting = pod.uid in self.evicting_for
        return "waiting for the preemption for this pod to be finished" if waiting else ""

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """Never: whoever refused the pod knows better what helps it."""
        return False
