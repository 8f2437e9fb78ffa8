"""NodeName: a pod that names its node goes there or nowhere."""

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo


class NodeName:
    name = "NodeName"
    scope = Scope.NODE

    def concerns(self, pod: PodInfo) -> bool:
        return pod.shape.node_name != ""

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        """True for the one node of that name."""
        mask = np.zeros(nodes.capacity, dtype=np.bool_)
        row = nodes.row_of.get(pod.shape.node_name)
        if row is not None:
            mask[row] = True
        return mask[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        return [Reason("node(s) didn't match the requested node name", ~self.filter(pod, nodes, nodes.rows), False)]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        return event.node(Action.ADD) is not None
