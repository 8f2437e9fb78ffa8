"""What happened in the cluster, as far as it may make a pod schedulable that was not."""

from enum import Flag, auto
from typing import Any, NamedTuple

from kobune.api.objects.core import Node
from kobune.controlplane.scheduler.pod_info import PodInfo

NODE, POD = "Node", "Pod"


class Action(Flag):
    """What was done to an object. An update carries one flag per kind of change."""

    ADD = auto()
    DELETE = auto()
    UPDATE = auto()  # Any update; the ones below come with it.
    LABELS = auto()
    TAINTS = auto()
    ALLOCATABLE = auto()
    ANNOTATIONS = auto()
    FEATURES = auto()  # What the node declares it can do.
    TOLERATIONS = auto()
    SCALED_DOWN = auto()
    GATES_GONE = auto()
    CLAIMS = auto()


class ClusterEvent(NamedTuple):
    """A change of one object: views of it before and after, PodInfo for pods."""

    resource: str  # The kind.
    action: Action
    old: Any = None
    new: Any = None

    @property
    def label(self) -> str:
        """As in the metric of what made pods ready. Source: upstream ClusterEvent.Label."""
        if self.resource != POD:
            return f"{_RESOURCE_LABELS.get(self.resource, self.resource)}{_action_label(self.action)}"
        pod = self.new or self.old
        assigned = pod is None or pod.node_name or Action.ADD in self.action
        return f"{'AssignedPod' if assigned else 'UnschedulablePod'}{_action_label(self.action)}"

    def node(self, *actions: Action) -> Node | None:
        """The node as it is now, when this is one of these changes of a node."""
        if self.resource != NODE or not any(action in self.action for action in actions):
            return None
        node: Node | None = self.new
        return node

    def freed(self) -> PodInfo | None:
        """A pod that has left its node, or the node that was kept for it."""
        if self.resource != POD or Action.DELETE not in self.action:
            return None
        pod: PodInfo = self.old
        return pod if pod.node_name or pod.pod.status.nominated_node_name else None

    def own(self, pod: PodInfo, action: Action) -> bool:
        """Whether the waiting pod itself was changed in this way."""
        return self.resource == POD and action in self.action and self.new is not None and self.new.uid == pod.uid


# Kinds that upstream's metric names with their groups.
_RESOURCE_LABELS = {
    **{kind: f"storage.k8s.io/{kind}" for kind in ("CSINode", "CSIDriver", "VolumeAttachment", "CSIStorageCapacity", "StorageClass")},
    "PodGroup": "scheduling.k8s.io/PodGroup",
    **{kind: f"resource.k8s.io/{kind}" for kind in ("ResourceClaim", "ResourceSlice", "DeviceClass")},
}  # fmt: skip
_ACTION_LABELS = {
    Action.ADD: "Add", Action.DELETE: "Delete", Action.ALLOCATABLE: "UpdateNodeAllocatable", Action.TAINTS: "UpdateNodeTaint",
    Action.ANNOTATIONS: "UpdateNodeAnnotation",
    Action.FEATURES: "UpdateNodeDeclaredFeature", Action.TOLERATIONS: "UpdatePodToleration",
    Action.SCALED_DOWN: "UpdatePodScaleDown", Action.GATES_GONE: "UpdatePodSchedulingGatesEliminated",
    Action.CLAIMS: "UpdatePodGeneratedResourceClaim",
}  # fmt: skip


def _action_label(action: Action) -> str:
    return next((label for one, label in _ACTION_LABELS.items() if one in action), "Update")


def node_actions(old: Node, new: Node) -> Action:
    """The kinds of change in a node's update. Source: upstream NodeSchedulingPropertiesChange."""
    action = Action.UPDATE
    if old.metadata.labels != new.metadata.labels:
        action |= Action.LABELS
    if old.spec.taints != new.spec.taints or (old.spec.unschedulable and not new.spec.unschedulable):
        action |= Action.TAINTS
    if old.status.allocatable != new.status.allocatable:
        action |= Action.ALLOCATABLE
    if old.metadata.annotations != new.metadata.annotations:
        action |= Action.ANNOTATIONS
    if old.status.declared_features != new.status.declared_features:
        action |= Action.FEATURES
    return action


def pod_actions(old: PodInfo, new: PodInfo) -> Action:
    """The kinds of change in a pod's update. Source: upstream PodSchedulingPropertiesChange."""
    action = Action.UPDATE
    if old.shape.group is not new.shape.group:
        action |= Action.LABELS
    if len(old.shape.tolerations) != len(new.shape.tolerations):
        action |= Action.TOLERATIONS
    if old.pod.spec.scheduling_gates and not new.pod.spec.scheduling_gates:
        action |= Action.GATES_GONE
    if old.shape is not new.shape and (
        bool((old.shape.requests > new.shape.requests).any())
        or any(amount > dict(new.shape.extended).get(name, 0) for name, amount in old.shape.extended)
    ):
        action |= Action.SCALED_DOWN
    if old.pod.status.resource_claim_statuses != new.pod.status.resource_claim_statuses:
        action |= Action.CLAIMS
    return action
