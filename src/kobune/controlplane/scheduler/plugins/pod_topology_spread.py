"""PodTopologySpread: pods of a kind are spread evenly over zones, hosts or any other topology.

Source: Kubernetes documentation, Pod Topology Spread Constraints; upstream podtopologyspread.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobune.api.objects.core import Node
from kobune.api.selectors import EVERYTHING
from kobune.controlplane.scheduler.arrays import MAX_SCORE, Codes, Counts, Mask, Rows, Scores
from kobune.controlplane.scheduler.default_selector import DefaultSelectors
from kobune.controlplane.scheduler.domains import codes_of, per_domain
from kobune.controlplane.scheduler.events import NODE, POD, Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import find_untolerated
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo, PodShape, SpreadConstraint

KNOWN_CELLS = 2_000_000  # Rows over all shapes whose domains are remembered.
MIN_KNOWN = 8
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
MISMATCH = "node(s) didn't match pod topology spread constraints"
MISSING_LABEL = f"{MISMATCH} (missing required label)"

# For pods without constraints of their own. Source: upstream systemDefaultConstraints.
SYSTEM_DEFAULTS = (
    SpreadConstraint(3, HOSTNAME, False, EVERYTHING),
    SpreadConstraint(5, ZONE, False, EVERYTHING),
)


class _Domains(NamedTuple):
    """One constraint over the rows in use, as far as Node objects decide it."""

    codes: Codes
    candidates: Mask  # Rows with the labels of all constraints.
    eligible: Mask | None  # Rows whose pods count; None is all of them.
    present: NDArray[np.intp]  # The codes of domains with an eligible row.


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
        self._known: dict[tuple[PodShape, bool], tuple[object, list[_Domains]]] = {}

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
        mask: Mask | None = None
        for domain, allowed in self._verdicts(pod, nodes):
            part = allowed[domain.codes]
            mask = part if mask is None else mask & part
        return np.ones(nodes.size, dtype=np.bool_)[rows] if mask is None else mask[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        """A node counts for the first constraint that refuses it."""
        left = np.ones(nodes.size, dtype=np.bool_)
        reasons = []
        for domain, allowed in self._verdicts(pod, nodes):
            labelled, within = domain.codes > 0, allowed[domain.codes]
            reasons.append(Reason(MISSING_LABEL, left & ~labelled, False))
            reasons.append(Reason(MISMATCH, left & labelled & ~within, True))
            left = left & within
        return reasons

    def _verdicts(self, pod: PodInfo, nodes: NodeTable) -> Iterator[tuple[_Domains, Mask]]:
        """For each hard constraint the domains, and by code whether one more pod there keeps the skew."""
        constraints = self._constraints(pod, hard=True)
        for constraint, domains in zip(constraints, self._domains(pod, constraints, nodes), strict=True):
            matched = _per_domain(domains, _matching(constraint, pod, nodes))
            present = domains.present
            fewest = int(matched[present].min()) if 0 < len(present) >= constraint.min_domains else 0
            own = int(constraint.selector.matches(pod.shape.labels))
            allowed: Mask = matched + (own - fewest) <= constraint.max_skew
            allowed[0] = False  # Without the label.
            yield domains, allowed

    def _domains(
        self, pod: PodInfo, constraints: Sequence[SpreadConstraint], nodes: NodeTable, *, needs_all: bool = True
    ) -> list[_Domains]:
        """Which rows count for each constraint; remembered until a Node object changes."""
        key = (pod.shape, constraints[0].hard if constraints else True)
        state = (nodes.node_changes.end, nodes.size, constraints)
        known = self._known.pop(key, None)
        if known is None or known[0] != state:
            if len(self._known) >= max(MIN_KNOWN, KNOWN_CELLS // nodes.capacity):
                del self._known[next(iter(self._known))]
            all_labels = _all_labels(constraints, nodes) if needs_all else nodes.exists[nodes.rows].copy()
            known = (state, [_domains_of(constraint, pod, nodes, all_labels) for constraint in constraints])
        self._known[key] = known
        return known[1]

    def rank(self, pod: PodInfo, nodes: NodeTable, feasible: Mask) -> Scores | None:
        """Higher where fewer pods of the kind are, over all ScheduleAnyway constraints."""
        constraints = self._constraints(pod, hard=False)
        if not constraints:
            return None
        # A node without a zone can still be spread over by host, as long as zones are only the system's idea.
        needs_all = bool(pod.shape.spread) or not self._system_defaults
        domains = self._domains(pod, constraints, nodes, needs_all=needs_all)
        scored = feasible & domains[0].candidates
        total = np.zeros(nodes.size, dtype=np.float64)
        for constraint, domain in zip(constraints, domains, strict=True):
            codes, counts = domain.codes, _matching(constraint, pod, nodes)
            if constraint.topology_key == HOSTNAME:
                weight = _weight(int(np.count_nonzero(scored)))
                total += (counts[nodes.rows] * weight + (constraint.max_skew - 1)) * (codes > 0)
            else:
                weight = _weight(int(np.count_nonzero(np.bincount(codes[scored]))))
                part = _per_domain(domain, counts) * weight + (constraint.max_skew - 1)
                part[0] = 0  # Without the label.
                total += part[codes]
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


def _domains_of(constraint: SpreadConstraint, pod: PodInfo, nodes: NodeTable, all_labels: Mask) -> _Domains:
    codes = codes_of(nodes, constraint.topology_key).copy()
    eligible = all_labels & _included(constraint, pod, nodes)
    present = np.unique(codes[eligible]).astype(np.intp)
    return _Domains(codes, all_labels, None if eligible.all() else eligible, present)


def _per_domain(domains: _Domains, counts: Counts) -> NDArray[np.int64]:
    return per_domain(domains.codes, counts, domains.eligible)


def _weight(domains: int) -> float:
    """The more domains, the more a pod in one of them counts. Source: upstream topologyNormalizingWeight."""
    return float(np.log(domains + 2))


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
