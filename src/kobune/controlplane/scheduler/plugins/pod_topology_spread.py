"""PodTopologySpread: pods of a kind are spread evenly over zones, hosts or any other topology.

Source: Kubernetes documentation, Pod Topology Spread Constraints; upstream podtopologyspread.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kobune.api.objects.core import Node
from kobune.api.selectors import EVERYTHING
from kobune.controlplane.scheduler.arrays import MAX_SCORE, Counts, Mask, Rows, Scores
from kobune.controlplane.scheduler.default_selector import DefaultSelectors
from kobune.controlplane.scheduler.domains import codes_of, per_domain, spread_out
from kobune.controlplane.scheduler.events import NODE, POD, Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import find_untolerated
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo, SpreadConstraint

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
MISMATCH = "node(s) didn't match pod topology spread constraints"
MISSING_LABEL = f"{MISMATCH} (missing required label)"

# For pods without constraints of their own. Source: upstream systemDefaultConstraints.
SYSTEM_DEFAULTS = (
    SpreadConstraint(3, HOSTNAME, False, EVERYTHING),
    SpreadConstraint(5, ZONE, False, EVERYTHING),
)


class _Verdict(NamedTuple):
    """One hard constraint over the rows in use."""

    labelled: Mask
    within: Mask  # The skew is allowed.


class PodTopologySpread:
    """Args: `defaults` are the constraints of pods that have none; `system_defaults`: they are not the user's choice."""

    name = "PodTopologySpread"
    scope = Scope.CLUSTER

    def __init__(
        self, listers: Listers, defaults: Sequence[SpreadConstraint] = SYSTEM_DEFAULTS, *, system_defaults: bool = True
    ) -> None:
        self._selectors = DefaultSelectors(listers)
        self._defaults = tuple(defaults)
        self._has_hard_defaults = any(constraint.hard for constraint in defaults)
        self._system_defaults = system_defaults

    def concerns(self, pod: PodInfo) -> bool:
        if not pod.shape.spread:
            return self._has_hard_defaults
        return any(constraint.hard for constraint in pod.shape.spread)

    def _constraints(self, pod: PodInfo, *, hard: bool) -> list[SpreadConstraint]:
        own = pod.shape.spread
        wanted = [constraint for constraint in own or self._defaults if constraint.hard is hard]
        if own or not wanted:
            return wanted
        selector = self._selectors.selector(pod)
        if selector.is_everything:
            return []  # Nothing says which pods belong together.
        return [constraint._replace(selector=selector) for constraint in wanted]

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        mask = np.ones(nodes.size, dtype=np.bool_)
        for labelled, within in self._verdicts(pod, nodes):
            mask &= labelled & within
        return mask[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        """A node counts for the first constraint that refuses it."""
        left = np.ones(nodes.size, dtype=np.bool_)
        reasons = []
        for labelled, within in self._verdicts(pod, nodes):
            reasons.append(Reason(MISSING_LABEL, left & ~labelled, False))
            reasons.append(Reason(MISMATCH, left & labelled & ~within, True))
            left = left & labelled & within
        return reasons

    def _verdicts(self, pod: PodInfo, nodes: NodeTable) -> list[_Verdict]:
        constraints = self._constraints(pod, hard=True)
        all_labels = _all_labels(constraints, nodes)
        verdicts = []
        for constraint in constraints:
            codes = codes_of(nodes, constraint.topology_key)
            eligible = all_labels & _included(constraint, pod, nodes)
            matched = per_domain(codes, _matching(constraint, pod, nodes), eligible)
            domains = np.unique(codes[eligible])
            fewest = int(matched[domains].min()) if 0 < len(domains) >= constraint.min_domains else 0
            own = int(constraint.selector.matches(pod.shape.labels))
            skew = spread_out(codes, matched) + (own - fewest)
            verdicts.append(_Verdict(codes > 0, skew <= constraint.max_skew))
        return verdicts

    def rank(self, pod: PodInfo, nodes: NodeTable, feasible: Mask) -> Scores | None:
        """Higher where fewer pods of the kind are, over all ScheduleAnyway constraints."""
        constraints = self._constraints(pod, hard=False)
        if not constraints:
            return None
        # A node without a zone can still be spread over by host, as long as zones are only the system's idea.
        needs_all = bool(pod.shape.spread) or not self._system_defaults
        all_labels = _all_labels(constraints, nodes) if needs_all else nodes.exists[nodes.rows]
        scored = feasible & all_labels
        total = np.zeros(nodes.size, dtype=np.float64)
        for constraint in constraints:
            codes = codes_of(nodes, constraint.topology_key)
            counts = _matching(constraint, pod, nodes)
            if constraint.topology_key == HOSTNAME:
                size = int(np.count_nonzero(scored))
                found: Scores = counts[nodes.rows].astype(np.int64)
            else:
                size = len(np.unique(codes[scored]))
                eligible = all_labels & _included(constraint, pod, nodes)
                found = spread_out(codes, per_domain(codes, counts, eligible))
            weight = float(np.log(size + 2))
            total += (found * weight + (constraint.max_skew - 1)) * (codes > 0)
        return _normalized(np.floor(total + 0.5).astype(np.int64), scored)

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A pod of the kind, or a node of the topology, that has come, gone or changed."""
        constraints = self._constraints(pod, hard=True)
        if event.resource == NODE:
            return _node_helps(event, constraints)
        if event.resource != POD:
            return False
        if event.own(pod, Action.TOLERATIONS) and any(constraint.honor_taints for constraint in constraints):
            return True
        labels = []
        for other in (event.old, event.new):
            if other is None:
                continue
            bound = other.node_name or other.pod.status.nominated_node_name
            if other.uid != pod.uid and (not bound or other.shape.namespace != pod.shape.namespace):
                return False
            labels.append(other.shape.labels)
        if event.old is not None and event.new is not None:
            before, after = labels
            return Action.LABELS in event.action and any(
                one.selector.matches(before) != one.selector.matches(after) for one in constraints
            )
        return any(one.selector.matches(labels[0]) for one in constraints)


def _node_helps(event: ClusterEvent, constraints: Sequence[SpreadConstraint]) -> bool:
    if not any(one in event.action for one in (Action.ADD, Action.DELETE, Action.LABELS, Action.TAINTS)):
        return False
    old, new = event.old, event.new
    before, after = _has_labels(old, constraints), _has_labels(new, constraints)
    if old is None or new is None:
        return before or after
    if before != after:
        return True
    moved = any(
        old.metadata.labels.get(one.topology_key) != new.metadata.labels.get(one.topology_key) for one in constraints
    )
    return after and (moved or old.spec.taints != new.spec.taints)


def _has_labels(node: Node | None, constraints: Sequence[SpreadConstraint]) -> bool:
    return node is not None and all(one.topology_key in node.metadata.labels for one in constraints)


def _all_labels(constraints: Sequence[SpreadConstraint], nodes: NodeTable) -> Mask:
    mask = nodes.exists[nodes.rows].copy()
    for constraint in constraints:
        mask &= codes_of(nodes, constraint.topology_key) > 0
    return mask


def _included(constraint: SpreadConstraint, pod: PodInfo, nodes: NodeTable) -> Mask:
    """The nodes that count for the skew, by the constraint's node inclusion policies."""
    mask = nodes.exists[nodes.rows]
    if constraint.honor_node_affinity and pod.shape.required_nodes:
        mask = mask & pod.shape.required_nodes.mask(nodes, nodes.rows)
    if constraint.honor_taints:
        tolerated = [find_untolerated(taints, pod.shape.tolerations) is None for taints in nodes.taint_sets]
        mask = mask & np.array(tolerated, dtype=np.bool_)[nodes.taint_codes[nodes.rows]]
    return mask


def _matching(constraint: SpreadConstraint, pod: PodInfo, nodes: NodeTable) -> Counts:
    """Pods of the kind on each row that are not being deleted; a selector without requirements counts none."""
    if constraint.selector.is_everything:
        return np.zeros(nodes.capacity, dtype=np.int32)
    return nodes.counts.matching(frozenset((pod.shape.namespace,)), constraint.selector, live_only=True)


def _normalized(scores: Scores, scored: Mask) -> Scores:
    """Turned round, so that the fewest pods give the most points; nodes that are not scored get none."""
    if not scored.any():
        return np.zeros_like(scores)
    among = scores[scored]
    lowest, highest = int(among.min()), int(among.max())
    if highest == 0:
        return np.where(scored, MAX_SCORE, 0)
    return np.where(scored, MAX_SCORE * (highest + lowest - scores) // highest, 0)
