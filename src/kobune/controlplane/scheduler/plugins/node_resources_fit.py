"""NodeResourcesFit: the node has room for what the pod requests; by default emptier nodes score higher."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from kobune.api.objects.core import Node
from kobune.controlplane.scheduler.arrays import Mask, Rows, Scores
from kobune.controlplane.scheduler.events import POD, Action, ClusterEvent
from kobune.controlplane.scheduler.node_table import CORE, NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.plugins.resource_strategies import (
    CPU_AND_MEMORY,
    ResourceWeight,
    Strategy,
    least_allocated,
    load_of,
)
from kobune.controlplane.scheduler.pod_info import PodInfo, PodShape
from kobune.controlplane.scheduler.pod_requests import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, amounts_of


class NodeResourcesFit:
    """Args: extended resources not to look at, by name or by the part before the slash; how to score.

    `delegated` gives the class of devices that stands for a resource where a node has no device plugin for it, or "".
    """

    name = "NodeResourcesFit"
    scope = Scope.RESOURCES

    def __init__(
        self,
        *,
        delegated: Callable[[str], str] = lambda resource: "",
        ignored: Collection[str] = (),
        ignored_groups: Collection[str] = (),
        strategy: Strategy = least_allocated,
        resources: Sequence[ResourceWeight] = CPU_AND_MEMORY,
    ) -> None:
        self._delegated = delegated
        self._ignored, self._ignored_groups = frozenset(ignored), frozenset(ignored_groups)
        self._strategy = strategy
        self._resources = tuple(resources)
        self._weights = np.array([weight for _, weight in resources], dtype=np.int64)

    def concerns(self, pod: PodInfo) -> bool:
        return True

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        """True where one more pod is allowed and every request fits. Shapes: tables [resource, row]."""
        mask: Mask = nodes.pod_count[rows] < nodes.allowed_pods[rows]
        shape = pod.shape
        requests: NDArray[np.int64] = shape.requests
        for column in range(CORE):
            amount = requests[column]
            if amount > 0:
                mask &= nodes.allocatable[column, rows] - nodes.requested[column, rows] >= amount
        for name, column_or_none, wanted in self._extended(shape, nodes):
            if column_or_none is None:
                mask &= bool(self._delegated(name))
                continue
            fits = nodes.allocatable[column_or_none, rows] - nodes.requested[column_or_none, rows] >= wanted
            if self._delegated(name):
                fits |= nodes.allocatable[column_or_none, rows] == 0
            mask &= fits
        return mask

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        """A node that would be too small even when empty cannot be helped by evicting pods."""
        rows = nodes.rows
        short: list[tuple[str, Mask]] = []
        hopeless: Mask = np.zeros(nodes.size, dtype=np.bool_)
        wanted = [(nodes.resources[column], column, int(pod.shape.requests[column])) for column in range(CORE)]
        for resource, column, amount in [*wanted, *self._extended(pod.shape, nodes)]:
            if not amount:
                continue
            total = np.zeros(nodes.size, dtype=np.int64) if column is None else nodes.allocatable[column, rows]
            used = 0 if column is None else nodes.requested[column, rows]
            lacks = total - used < amount
            if self._delegated(resource):
                lacks &= total > 0
            short.append((f"Insufficient {resource}", lacks))
            hopeless |= lacks & (total < amount)
        short.insert(0, ("Too many pods", nodes.pod_count[rows] >= nodes.allowed_pods[rows]))
        reasons = [Reason(text, mask & ~hopeless, True) for text, mask in short]
        return reasons + [Reason(text, mask & hopeless, False) for text, mask in short]

    def _extended(self, shape: PodShape, nodes: NodeTable) -> list[tuple[str, int | None, int]]:
        """(name, column, amount) of the extended resources that are looked at."""
        return [
            (name, nodes.resource_column(name), amount)
            for name, amount in shape.extended
            if name not in self._ignored and name.partition("/")[0] not in self._ignored_groups
        ]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A node large enough that is new or has grown; a pod gone, or grown smaller in what this pod wants.

        A class of devices may come to stand for what the pod asks for.
        """
        if event.resource == "DeviceClass":
            return event.new is not None and any(self._delegated(name) for name, _ in pod.shape.extended)
        if event.freed() is not None:
            return True
        if event.resource == POD and Action.SCALED_DOWN in event.action:
            return event.own(pod, Action.SCALED_DOWN) or (event.new.node_name != "" and _eases(event, pod.shape))
        node = event.node(Action.ADD, Action.ALLOCATABLE)
        if node is None or not self._fits_empty(pod.shape, node):
            return False
        return event.old is None or _grew(pod.shape, event.old, node)

    def _fits_empty(self, shape: PodShape, node: Node) -> bool:
        amounts = amounts_of(node.status.allocatable)
        return amounts.get(PODS, 0) > 0 and all(
            amounts.get(name, 0) >= wanted or (not amounts.get(name, 0) and self._delegated(name) != "")
            for name, wanted in _wanted(shape)
        )

    def prefers(self, pod: PodInfo) -> bool:
        return True

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Scores:
        return self._strategy(load_of(self._resources, pod.shape, nodes, rows, assumed=True), self._weights)


def _wanted(shape: PodShape) -> list[tuple[str, int]]:
    core = zip((CPU, MEMORY, EPHEMERAL_STORAGE), shape.requests.tolist(), strict=True)
    return [(name, amount) for name, amount in [*core, *shape.extended] if amount]


def _eases(event: ClusterEvent, shape: PodShape) -> bool:
    before, after = dict(_wanted(event.old.shape)), dict(_wanted(event.new.shape))
    return any(before.get(name, 0) > after.get(name, 0) for name, _ in _wanted(shape))


def _grew(shape: PodShape, old: Node, new: Node) -> bool:
    before, after = amounts_of(old.status.allocatable), amounts_of(new.status.allocatable)
    return any(after.get(name, 0) > before.get(name, 0) for name, _ in [(PODS, 1), *_wanted(shape)])
