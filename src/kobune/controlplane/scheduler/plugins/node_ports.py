"""NodePorts: a host port of a protocol can be had once per address on a node; 0.0.0.0 is every address."""

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_info import HostPort, PodInfo

ANY = "0.0.0.0"  # To compare with, not to listen on.


class NodePorts:
    name = "NodePorts"
    scope = Scope.ROOM

    def concerns(self, pod: PodInfo) -> bool:
        return bool(pod.shape.ports)

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        mask = np.ones(nodes.capacity, dtype=np.bool_)[rows]
        for used, users in nodes.port_users.items():
            if any(clash(wanted, used) for wanted in pod.shape.ports):
                mask = mask & (users[rows] == 0)
        return mask

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        text = "node(s) didn't have free ports for the requested pod ports"
        return [Reason(text, ~self.filter(pod, nodes, nodes.rows), True)]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A new node, or a pod gone that held one of the ports."""
        freed = event.freed()
        if freed is not None:
            return any(clash(wanted, used) for wanted in pod.shape.ports for used in freed.shape.ports)
        return event.node(Action.ADD) is not None


def clash(one: HostPort, other: HostPort) -> bool:
    """Whether two host ports cannot be held at the same time on one node."""
    same = one.port == other.port and one.protocol == other.protocol
    return same and (one.ip == other.ip or ANY in (one.ip, other.ip))
