"""How full a node would be with the pod, as a score: least allocated, most allocated, or a shape of one's own.

Arrays are [resource, row]. Source: Kubernetes documentation, Resource Bin Packing; upstream noderesources.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobune.controlplane.scheduler.arrays import MAX_SCORE, Rows, Scores
from kobune.controlplane.scheduler.node_table import COLUMN_CPU, COLUMN_MEMORY, CORE, NodeTable
from kobune.controlplane.scheduler.pod_info import PodShape
from kobune.controlplane.scheduler.pod_requests import CPU, MEMORY

Amounts2D = NDArray[np.int64]
MAX_SHAPE_SCORE = 10  # Shapes are written on a scale to 10. Source: upstream MaxCustomPriorityScore.


class ResourceWeight(NamedTuple):
    resource: str
    weight: int


CPU_AND_MEMORY = (ResourceWeight(CPU, 1), ResourceWeight(MEMORY, 1))


class Load(NamedTuple):
    """What nodes have and what is in use of it, without and with the pod. A capacity of 0 means: leave out."""

    capacity: Amounts2D
    used: Amounts2D
    wanted: Amounts2D  # Used, and the pod beside it.


Strategy = Callable[[Load, NDArray[np.int64]], Scores]  # The load and the weights [resource] to scores [row].


def load_of(
    resources: Sequence[ResourceWeight], shape: PodShape, nodes: NodeTable, rows: Rows, *, assumed: bool
) -> Load:
    """The load on these resources.

    Args:
        assumed: for cpu and memory, count containers without a request as upstream's guess instead of nothing.
    """
    if [resource for resource, _ in resources] == [CPU, MEMORY]:
        capacity = nodes.allocatable[:2, rows]
        used = nodes.assumed[:, rows] if assumed else nodes.requested[:2, rows]
        own = shape.assumed if assumed else shape.requests[:2]
        return Load(capacity, used, used + own[:, np.newaxis])
    parts = [_one(resource, shape, nodes, rows, assumed) for resource, _ in resources]
    capacity, used = np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts])
    return Load(capacity, used, used + np.array([part[2] for part in parts])[:, np.newaxis])


def _one(
    resource: str, shape: PodShape, nodes: NodeTable, rows: Rows, assumed: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """(capacity, used, wanted by the pod) of one resource."""
    column = nodes.resource_column(resource)
    nothing = np.zeros(nodes.capacity, dtype=np.int64)[rows]
    if column is None:
        return nothing, nothing, 0
    if column in (COLUMN_CPU, COLUMN_MEMORY) and assumed:
        return nodes.allocatable[column, rows], nodes.assumed[column, rows], int(shape.assumed[column])
    if column < CORE:
        return nodes.allocatable[column, rows], nodes.requested[column, rows], int(shape.requests[column])
    wanted = dict(shape.extended).get(resource, 0)
    if not wanted:
        return nothing, nothing, 0  # A resource of which the pod wants nothing does not count.
    return nodes.allocatable[column, rows], nodes.requested[column, rows], wanted


def least_allocated(load: Load, weights: NDArray[np.int64]) -> Scores:
    """The share left free, as a weighted mean. Source: upstream leastResourceScorer."""
    left = load.capacity - load.wanted
    np.maximum(left, 0, out=left)
    left *= MAX_SCORE
    left //= np.maximum(load.capacity, 1)
    return _mean(left, load, weights)


def most_allocated(load: Load, weights: NDArray[np.int64]) -> Scores:
    """The share in use, as a weighted mean. Source: upstream mostResourceScorer."""
    share = np.minimum(load.wanted, load.capacity) * MAX_SCORE // np.maximum(load.capacity, 1)
    return _mean(share, load, weights)


def requested_to_capacity_ratio(shape: Sequence[tuple[int, int]]) -> Strategy:
    """A broken line through (utilization in percent, score to 10) points.

    Source: upstream requestedToCapacityRatioScorer; resources that score 0 do not count in the mean, which is rounded.
    """
    points = [(utilization, score * (MAX_SCORE // MAX_SHAPE_SCORE)) for utilization, score in shape]
    line = np.array([_on_line(points, percent) for percent in range(MAX_SCORE + 1)], dtype=np.int64)

    def strategy(load: Load, weights: NDArray[np.int64]) -> Scores:
        full = (load.capacity == 0) | (load.wanted > load.capacity)
        percent = np.where(full, MAX_SCORE, load.wanted * MAX_SCORE // np.maximum(load.capacity, 1))
        scores = line[percent]
        counted = (load.capacity > 0) & (scores > 0)
        total = (scores * counted * weights[:, np.newaxis]).sum(axis=0)
        weight = (counted * weights[:, np.newaxis]).sum(axis=0)
        # Halves are rounded up, as upstream's math.Round does for positive numbers.
        rounded: Scores = np.floor(total / np.maximum(weight, 1) + 0.5).astype(np.int64)
        return rounded

    return strategy


def _on_line(points: Sequence[tuple[int, int]], percent: int) -> int:
    for index, (utilization, score) in enumerate(points):
        if percent <= utilization:
            if index == 0:
                return score
            before, score_before = points[index - 1]
            rise, run = (score - score_before) * (percent - before), utilization - before
            # Towards zero, as upstream's integers divide.
            return score_before + (abs(rise) // run if rise >= 0 else -(abs(rise) // run))
    return points[-1][1]


def _mean(scores: Amounts2D, load: Load, weights: NDArray[np.int64]) -> Scores:
    total: Scores = weights @ scores
    weight = weights @ (load.capacity != 0)
    np.maximum(weight, 1, out=weight)
    total //= weight
    return total
