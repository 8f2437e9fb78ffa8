"""What a profile's plugins say about all nodes for one pod shape, kept up to date row by row.

Identical pods share a verdict: after a placement only the row that took the pod is judged again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask, Rows, Scores, some_rows
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Conditional, Filter, Normalize, Scope, Score
from kobune.controlplane.scheduler.pod_info import PodInfo

IN_ROOM = (Scope.RESOURCES, Scope.ROOM)
ROOMS_KEPT = 10_000
FEW_ROOMS = 8  # So many are faster looked up one by one than judged together.
INFEASIBLE = -1  # The total of a node that may not take the pod.


class Weighted(NamedTuple):
    plugin: Score
    weight: int


class Raw:
    """Scores of a plugin that normalises, as they are before that."""

    def __init__(self, weighted: Weighted, normalize: Normalize, capacity: int) -> None:
        self.plugin, self.weight = weighted
        self.normalize = normalize
        self.scores: Scores = np.zeros(capacity, dtype=np.int64)
        self.is_flat = True  # All zero.


class Verdict:
    """Masks and scores of one pod shape over the rows of a table.

    `mask[row]` is whether every filter short of the CLUSTER ones accepts the node; `total[row]` is the weighted sum of
    all scores that need no other node's score, INFEASIBLE where the mask is False.
    """

    def __init__(self, pod: PodInfo, filters: Sequence[Filter], scores: Sequence[Weighted], nodes: NodeTable) -> None:
        concerned = [plugin for plugin in filters if plugin.concerns(pod)]
        preferring = [weighted for weighted in scores if weighted.plugin.prefers(pod)]
        plain = [weighted for weighted in preferring if not isinstance(weighted.plugin, Normalize)]
        self._node_filters = [plugin for plugin in concerned if plugin.scope is Scope.NODE]
        self._room_filters = [plugin for plugin in concerned if plugin.scope in IN_ROOM]
        self._node_scores = [weighted for weighted in plain if weighted.plugin.scope is Scope.NODE]
        self._room_scores = [weighted for weighted in plain if weighted.plugin.scope in IN_ROOM]
        scopes = [plugin.scope for plugin in self._room_filters]
        scopes += [weighted.plugin.scope for weighted in self._room_scores]
        # Nodes with the same resources and requests are judged alike, and there are few such states in a large cluster.
        self._rooms: dict[bytes, tuple[bool, int]] | None = (
            {} if all(scope is Scope.RESOURCES for scope in scopes) else None
        )
        self._nodes_scores = [weighted for weighted in plain if weighted.plugin.scope is Scope.NODES]
        self.cluster_filters = [
            (plugin, plugin if isinstance(plugin, Conditional) else None)
            for plugin in concerned
            if plugin.scope is Scope.CLUSTER
        ]
        self._raw_of = [
            (weighted, weighted.plugin) for weighted in preferring if isinstance(weighted.plugin, Normalize)
        ]
        self.raw: list[Raw] = []
        self._capacity = 0
        self._positions = (-1, -1)
        self.bring_up_to_date(pod, nodes)

    def bring_up_to_date(self, pod: PodInfo, nodes: NodeTable) -> None:
        """Judge the rows again that have changed since the last time."""
        positions = (nodes.node_changes.end, nodes.room_changes.end)
        if positions == self._positions:
            return
        changed_nodes = nodes.node_changes.since(self._positions[0])
        changed_rooms = nodes.room_changes.since(self._positions[1])
        self._positions = positions
        if self._capacity != nodes.capacity or changed_nodes is None or changed_rooms is None:
            self._start(nodes.capacity)
            changed_nodes = changed_rooms = None
        if changed_nodes is None or 4 * len(changed_nodes) > nodes.size:
            self._judge_nodes(pod, nodes, nodes.rows)
            self._judge_rooms(pod, nodes, nodes.rows)
        else:
            if changed_nodes:
                self._judge_nodes(pod, nodes, some_rows(changed_nodes))
            rooms = changed_nodes + (changed_rooms or [])
            if len(rooms) <= FEW_ROOMS and self._rooms is not None:
                for row in rooms:
                    self._judge_room(pod, nodes, row, self._rooms)
            elif rooms:
                few = 4 * len(rooms) <= nodes.size
                self._judge_rooms(pod, nodes, some_rows(rooms) if few else nodes.rows)
        if self._nodes_scores and (changed_nodes is None or changed_nodes):
            self._judge_all(pod, nodes)

    def _start(self, capacity: int) -> None:
        self._capacity = capacity
        self._node_mask: Mask = np.zeros(capacity, dtype=np.bool_)
        self._node_total: Scores = np.zeros(capacity, dtype=np.int64)
        self._nodes_total: Scores = np.zeros(capacity, dtype=np.int64)
        self.mask: Mask = np.zeros(capacity, dtype=np.bool_)
        self._room_total: Scores = np.zeros(capacity, dtype=np.int64)
        self.total: Scores = np.full(capacity, INFEASIBLE, dtype=np.int32)
        self.raw = [Raw(weighted, normalize, capacity) for weighted, normalize in self._raw_of]

    def _judge_nodes(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> None:
        mask: Mask = nodes.exists[rows].copy()
        for plugin in self._node_filters:
            mask &= plugin.filter(pod, nodes, rows)
        self._node_mask[rows] = mask
        if self._node_scores:
            self._node_total[rows] = _sum(self._node_scores, pod, nodes, rows)
        for raw in self.raw:
            raw.scores[rows] = raw.plugin.score(pod, nodes, rows)
            raw.is_flat = not raw.scores.any()

    def _judge_rooms(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> None:
        mask: Mask = self._node_mask[rows]
        for plugin in self._room_filters:
            mask = mask & plugin.filter(pod, nodes, rows)
        self.mask[rows] = mask
        total = _sum(self._room_scores, pod, nodes, rows) if self._room_scores else np.zeros_like(self.total[rows])
        self._room_total[rows] = total
        total = total + self._node_total[rows]
        if self._nodes_scores:
            total = total + self._nodes_total[rows]
        self.total[rows] = np.where(mask, total, INFEASIBLE)

    def _judge_room(self, pod: PodInfo, nodes: NodeTable, row: int, rooms: dict[bytes, tuple[bool, int]]) -> None:
        """The same for one row, looked up when a room in this state has been judged before."""
        state = nodes.room_state(row)
        known = rooms.get(state)
        if known is None:
            rows = slice(row, row + 1)
            mask = all(plugin.filter(pod, nodes, rows)[0] for plugin in self._room_filters)
            total = int(_sum(self._room_scores, pod, nodes, rows)[0]) if self._room_scores else 0
            if len(rooms) >= ROOMS_KEPT:
                rooms.clear()
            known = rooms[state] = (mask, total)
        fits, total = known
        fits = fits and bool(self._node_mask[row])
        self.mask[row] = fits
        self._room_total[row] = total
        rest = self._node_total[row] + self._nodes_total[row]
        self.total[row] = total + rest if fits else INFEASIBLE

    def _judge_all(self, pod: PodInfo, nodes: NodeTable) -> None:
        rows = nodes.rows
        self._nodes_total[rows] = _sum(self._nodes_scores, pod, nodes, rows)
        total = self._room_total[rows] + self._node_total[rows] + self._nodes_total[rows]
        self.total[rows] = np.where(self.mask[rows], total, INFEASIBLE)


def _sum(scores: Sequence[Weighted], pod: PodInfo, nodes: NodeTable, rows: Rows) -> Scores:
    first, *rest = scores
    total = first.plugin.score(pod, nodes, rows) * first.weight
    for plugin, weight in rest:
        total = total + plugin.score(pod, nodes, rows) * weight
    return total
