"""Pods that wait for room made for them: until they are bound, pods of no higher priority leave that room alone.

Most such pods want nothing but room, and there can be thousands: what they will take of each node is kept as arrays, so
that looking out for them costs a few vector operations. The others are moved in for a moment and judged one by one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kobune.controlplane.scheduler.change_log import ChangeLog
from kobune.controlplane.scheduler.node_table import NodeTable, PriorityLoad
from kobune.controlplane.scheduler.pod_info import PodInfo


class Nominations:
    """Which pending pods are meant for which node. Source: upstream nominator."""

    def __init__(self) -> None:
        self._by_node: dict[str, dict[str, PodInfo]] = {}
        self._node_of: dict[str, str] = {}
        self._particular: set[str] = set()  # Uids of pods that want more than room.
        self._loads: dict[int, PriorityLoad] = {}  # By priority, over the rows of a table.
        self._seen: tuple[int, int] = (-1, -1)  # The state of that table's nodes.
        self.changes = ChangeLog()  # Rows whose expected pods have changed.
        self._rows: dict[str, int] = {}  # By uid: where it stands in the loads.

    def __bool__(self) -> bool:
        return bool(self._node_of)

    @property
    def want_only_room(self) -> bool:
        """None of the pods has ports, affinity, volumes or extended resources for which filters have to be asked."""
        return not self._particular

    def put(self, pod: PodInfo, node_name: str) -> None:
        """The pod is meant for this node now; an empty name is none."""
        self.remove(pod.uid)
        if node_name:
            self._by_node.setdefault(node_name, {})[pod.uid] = pod
            self._node_of[pod.uid] = node_name
            shape = pod.shape
            if shape.ports or shape.terms or shape.volumes or shape.extended or shape.claims:
                self._particular.add(pod.uid)
            self._count(pod, node_name)

    def remove(self, uid: str) -> None:
        node_name = self._node_of.pop(uid, None)
        if node_name is None:
            return
        self._particular.discard(uid)
        pods = self._by_node[node_name]
        pod = pods.pop(uid)
        if not pods:
            del self._by_node[node_name]
        row = self._rows.pop(uid, None)
        if row is not None:
            self.changes.add(row, keep=self._table.capacity)
            load = self._loads[pod.priority]
            load.pods[row] -= 1
            load.requested[:, row] -= pod.shape.requests

    def node_of(self, uid: str) -> str:
        """The node that the pod is meant for, or empty."""
        return self._node_of.get(uid, "")

    def on(self, node_name: str) -> list[PodInfo]:
        """The pods meant for a node."""
        return list(self._by_node.get(node_name, {}).values())

    def load_ahead_of(self, pod: PodInfo, nodes: NodeTable) -> PriorityLoad:
        """What expected pods of the same or a higher priority will take of each row."""
        self._follow(nodes)
        total = PriorityLoad(nodes.capacity)
        for priority, load in self._loads.items():
            if priority >= pod.priority:
                total.pods += load.pods
                total.requested += load.requested
        own = self._rows.get(pod.uid)
        if own is not None:
            total.pods[own] -= 1
            total.requested[:, own] -= self._by_node[self._node_of[pod.uid]][pod.uid].shape.requests
        return total

    def _follow(self, nodes: NodeTable) -> None:
        """Count anew when nodes have come or gone: their rows may be others."""
        seen = (nodes.node_changes.end, nodes.capacity)
        if seen == self._seen:
            return
        self._seen = seen
        self._table = nodes
        self._loads.clear()
        self._rows.clear()
        for node_name, pods in self._by_node.items():
            for pod in pods.values():
                self._count(pod, node_name)

    def _count(self, pod: PodInfo, node_name: str) -> None:
        if self._seen == (-1, -1):
            return  # Nobody has asked yet; the first question counts all.
        row = self._table.row_of.get(node_name)
        if row is None:
            return
        load = self._loads.get(pod.priority)
        if load is None:
            load = self._loads[pod.priority] = PriorityLoad(self._table.capacity)
        load.pods[row] += 1
        load.requested[:, row] += pod.shape.requests
        self._rows[pod.uid] = row
        self.changes.add(row, keep=self._table.capacity)

    def ahead_of(self, pod: PodInfo, nodes: NodeTable) -> Iterator[tuple[int, list[PodInfo]]]:
        """The rows where pods of the same or a higher priority are expected, with those pods."""
        for node_name, pods in list(self._by_node.items()):
            row = nodes.row_of.get(node_name)
            guests = [one for one in pods.values() if one.priority >= pod.priority and one.uid != pod.uid]
            if row is not None and guests:
                yield row, guests

    @contextmanager
    def moved_in(self, guests: Sequence[PodInfo], nodes: NodeTable, row: int) -> Iterator[None]:
        """Within the block the guests are on the node."""
        name = nodes.names[row]
        for guest in guests:
            nodes.add_pod(guest, name)
        try:
            yield
        finally:
            for guest in guests:
                nodes.remove_pod(guest.uid, name)
