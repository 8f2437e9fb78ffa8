"""NodeResourcesBalancedAllocation: prefers nodes whose resources the pod brings into balance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kobune.controlplane.scheduler.arrays import MAX_SCORE, Rows, Scores
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Scope
from kobune.controlplane.scheduler.plugins.resource_strategies import CPU_AND_MEMORY, ResourceWeight, load_of
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.pod_requests import CPU, EPHEMERAL_STORAGE, MEMORY

_CORE = {CPU: 0, MEMORY: 1, EPHEMERAL_STORAGE: 2}


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    scope = Scope.RESOURCES

    def __init__(self, resources: Sequence[ResourceWeight] = CPU_AND_MEMORY) -> None:
        self._resources = tuple(resources)

    def prefers(self, pod: PodInfo) -> bool:
        """Pods that ask for none of the resources would otherwise all go to the same node."""
        shape = pod.shape
        extended = dict(shape.extended)
        return any(
            shape.requests[_CORE[resource]] if resource in _CORE else extended.get(resource, 0)
            for resource, _ in self._resources
        )

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Scores:
        """About 75, towards 100 where the pod improves the balance and towards 50 where it worsens it."""
        load = load_of(self._resources, pod.shape, nodes, rows, assumed=False)
        before = _balance(load.used, load.capacity)
        after = _balance(load.wanted, load.capacity)
        result: Scores = MAX_SCORE // 2 + (MAX_SCORE // 2 + after - before) // 2
        return result


def _balance(used: NDArray[np.int64], capacity: NDArray[np.int64]) -> Scores:
    """MAX_SCORE less the standard deviation of the used shares. Source: upstream balancedResourceScore."""
    shares = used / np.maximum(capacity, 1)
    np.minimum(shares, 1.0, out=shares)
    counted = capacity > 0
    if len(shares) == 2:
        deviation = np.abs((shares[0] - shares[1]) / 2) * (counted[0] & counted[1])
    else:
        number = counted.sum(axis=0)
        mean = (shares * counted).sum(axis=0) / np.maximum(number, 1)
        variance = (((shares - mean) ** 2) * counted).sum(axis=0) / np.maximum(number, 1)
        two = number == 2  # Where a resource is missing: half the distance, which is the same but for rounding.
        deviation = np.where(number < 2, 0.0, np.sqrt(variance))
        deviation = np.where(two, _half_distance(shares, counted), deviation)
    balance: Scores = ((1 - deviation) * MAX_SCORE).astype(np.int64)
    return balance


def _half_distance(shares: NDArray[np.float64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    highest = np.where(counted, shares, -np.inf).max(axis=0, initial=-np.inf)
    lowest = np.where(counted, shares, np.inf).min(axis=0, initial=np.inf)
    return np.where(np.isfinite(highest), (highest - np.where(np.isfinite(lowest), lowest, 0)) / 2, 0.0)
