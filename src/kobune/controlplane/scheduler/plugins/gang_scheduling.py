"""GangScheduling: pods of a gang are not tried before enough of them exist, nor bound before enough of them have a node.

Source: Kubernetes documentation, Gang Scheduling; upstream gangscheduling.
"""

from kobune.controlplane.scheduler.events import POD, Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.pod_info import PodInfo

TOO_FEW_EXIST = "waiting for minCount pods from a gang to appear in scheduling queue"
TOO_FEW_PLACED = "waiting for minCount pods from a gang to be scheduled"


class GangScheduling:
    name = "GangScheduling"

    def __init__(self, listers: Listers) -> None:
        self._listers = listers

    def gate(self, pod: PodInfo) -> str:
        """Upstream's words for what the pod waits for; empty when it waits for nothing."""
        group = pod.scheduling_group
        if group is None:
            return ""
        found = self._listers.pod_groups.get(group)
        if found is None:
            return f'waiting for pods\'s pod group "{group.name}" to appear in scheduling queue'
        gang = found.spec.scheduling_policy.gang
        if gang is None or self._listers.members.count(group) >= gang.min_count:
            return ""
        return TOO_FEW_EXIST

    def permit(self, pod: PodInfo) -> str:
        """The same for a pod that has found a node and is counted there.

        Raises:
            LookupError: its group has gone.
        """
        group = pod.scheduling_group
        if group is None:
            return ""
        found = self._listers.pod_groups.get(group)
        if found is None:
            raise LookupError(f'failed to get podGroup {group}: podgroup.scheduling.k8s.io "{group.name}" not found')
        gang = found.spec.scheduling_policy.gang
        return "" if gang is None or self._listers.members.placed(group) >= gang.min_count else TOO_FEW_PLACED

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A pod more of the group, or the group itself."""
        if Action.ADD not in event.action:
            return False
        if event.resource == POD:
            other: PodInfo | None = event.new
            return other is not None and other.scheduling_group == pod.scheduling_group
        return event.resource == "PodGroup" and event.new is not None and event.new.key == pod.scheduling_group
