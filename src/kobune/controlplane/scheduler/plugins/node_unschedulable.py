"""NodeUnschedulable: a cordoned node takes only pods that tolerate the unschedulable taint."""

import numpy as np

from kobune.api.objects.core import Taint
from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.node_rules import tolerates
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo

CORDON = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable:
    name = "NodeUnschedulable"
    scope = Scope.NODE

    def concerns(self, pod: PodInfo) -> bool:
        return not any(tolerates(toleration, CORDON) for toleration in pod.shape.tolerations)

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        return np.logical_not(nodes.unschedulable[rows])

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        return [Reason("node(s) were unschedulable", nodes.unschedulable[nodes.rows], False)]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A node that is, or has become, open to pods; or the pod has come to tolerate cordoned ones."""
        if event.own(pod, Action.TOLERATIONS):
            return any(tolerates(toleration, CORDON) for toleration in event.new.shape.tolerations)
        node = event.node(Action.ADD, Action.TAINTS)
        if node is None or node.spec.unschedulable:
            return False
        return event.old is None or event.old.spec.unschedulable
