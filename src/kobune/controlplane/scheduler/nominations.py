"""Pods that wait for room made for them: until they are bound, pods of no higher priority leave that room alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.pod_info import PodInfo


class Nominations:
    """Which pending pods are meant for which node. Source: upstream nominator."""

    def __init__(self) -> None:
        self._by_node: dict[str, dict[str, PodInfo]] = {}
        self._node_of: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._node_of)

    def put(self, pod: PodInfo, node_name: str) -> None:
        """The pod is meant for this node now; an empty name is none."""
        self.remove(pod.uid)
        if node_name:
            self._by_node.setdefault(node_name, {})[pod.uid] = pod
            self._node_of[pod.uid] = node_name

    def remove(self, uid: str) -> None:
        node_name = self._node_of.pop(uid, None)
        if node_name is not None:
            pods = self._by_node[node_name]
            del pods[uid]
            if not pods:
                del self._by_node[node_name]

    def node_of(self, uid: str) -> str:
        """The node that the pod is meant for, or empty."""
        return self._node_of.get(uid, "")

    def on(self, node_name: str) -> list[PodInfo]:
        """The pods meant for a node."""
        return list(self._by_node.get(node_name, {}).values())

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
