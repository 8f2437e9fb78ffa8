"""InterPodAffinity: pods near or away from other pods, by their own terms and by those of pods already placed.

Source: Kubernetes documentation, Inter-pod affinity and anti-affinity; upstream interpodaffinity.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kobune.api.selectors import LabelSelector
from kobune.controlplane.scheduler.arrays import MAX_SCORE, Counts, Mask, Rows, Scores
from kobune.controlplane.scheduler.domains import codes_of, per_domain, spread_out
from kobune.controlplane.scheduler.events import NODE, POD, Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_counts import TermCounts
from kobune.controlplane.scheduler.pod_info import (
    PREFERRED_AFFINITY,
    PREFERRED_ANTI_AFFINITY,
    REQUIRED_AFFINITY,
    REQUIRED_ANTI_AFFINITY,
    PodGroup,
    PodInfo,
    PodTerm,
)

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
HARD_WEIGHT = 1  # Source: upstream default of hardPodAffinityWeight.


class AllOf(NamedTuple):
    """Labels that several selectors match."""

    selectors: tuple[LabelSelector, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(selector.matches(labels) for selector in self.selectors)


class InterPodAffinity:
    """Args: what a placed pod's required affinity counts in scores; whether to ignore placed pods' preferences."""

    name = "InterPodAffinity"
    scope = Scope.CLUSTER

    def __init__(self, listers: Listers, *, hard_weight: int = HARD_WEIGHT, ignore_existing: bool = False) -> None:
        self._listers = listers
        self._hard_weight = hard_weight
        self._ignore_existing = ignore_existing
        self._namespaces: dict[LabelSelector, tuple[int, frozenset[str]]] = {}

    def concerns(self, pod: PodInfo) -> bool:
        return True  # Placed pods may object to any pod.

    def applies(self, pod: PodInfo, nodes: NodeTable) -> bool:
        own = any(term.kind in (REQUIRED_AFFINITY, REQUIRED_ANTI_AFFINITY) for term in pod.shape.terms)
        return own or bool(self._about(REQUIRED_ANTI_AFFINITY, pod, nodes))

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        mask: Mask | None = None
        for part in (self._affinity(pod, nodes), self._anti_affinity(pod, nodes), self._existing(pod, nodes)):
            if part is not None:
                mask = part if mask is None else mask & part
        return np.ones(nodes.size, dtype=np.bool_)[rows] if mask is None else mask[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        """A node counts for the first kind of rule that refuses it."""
        left = np.ones(nodes.size, dtype=np.bool_)
        reasons = []
        for text, part, resolvable in (
            (AFFINITY, self._affinity(pod, nodes), False),
            (ANTI_AFFINITY, self._anti_affinity(pod, nodes), True),
            (EXISTING, self._existing(pod, nodes), True),
        ):
            if part is not None:
                reasons.append(Reason(text, left & ~part, resolvable))
                left = left & part
        return reasons

    def _affinity(self, pod: PodInfo, nodes: NodeTable) -> Mask | None:
        """Nodes near a pod that matches all required terms; or any labelled node for the first pod of a group."""
        terms = pod.shape.terms_of(REQUIRED_AFFINITY)
        if not terms:
            return None
        counts = nodes.counts.matching(self._common_namespaces(terms), _all_of(terms), live_only=False)
        labelled, near, found = np.ones(nodes.size, dtype=np.bool_), np.ones(nodes.size, dtype=np.bool_), False
        for key in dict.fromkeys(term.topology_key for term in terms):
            codes = codes_of(nodes, key)
            sums = per_domain(codes, counts)
            found = found or bool(sums.any())
            labelled &= codes > 0
            near &= spread_out(codes, sums) > 0
        if not found and all(self._means(term, pod.shape.group) for term in terms):
            return labelled
        return labelled & near

    def _anti_affinity(self, pod: PodInfo, nodes: NodeTable) -> Mask | None:
        """Nodes away from every pod that a required anti-affinity term means."""
        mask: Mask | None = None
        for term in pod.shape.terms_of(REQUIRED_ANTI_AFFINITY):
            counts = nodes.counts.matching(self._namespaces_of(term), term.selector, live_only=False)
            codes = codes_of(nodes, term.topology_key)
            away = spread_out(codes, per_domain(codes, counts)) == 0
            mask = away if mask is None else mask & away
        return mask

    def _existing(self, pod: PodInfo, nodes: NodeTable) -> Mask | None:
        """Nodes away from every placed pod that wants no pod like this one near."""
        mask: Mask | None = None
        for known in self._about(REQUIRED_ANTI_AFFINITY, pod, nodes):
            codes = codes_of(nodes, known.term.topology_key)
            away = spread_out(codes, per_domain(codes, known.counts)) == 0
            mask = away if mask is None else mask & away
        return mask

    def rank(self, pod: PodInfo, nodes: NodeTable, feasible: Mask) -> Scores | None:
        """The weights of all preferences that hold at a node, those of placed pods for this one included."""
        own = pod.shape.terms_of(PREFERRED_AFFINITY) + pod.shape.terms_of(PREFERRED_ANTI_AFFINITY)
        if self._ignore_existing and not own:
            return None
        total: Scores | None = None
        for term in own:
            counts = nodes.counts.matching(self._namespaces_of(term), term.selector, live_only=False)
            sign = 1 if term.kind == PREFERRED_AFFINITY else -1
            total = _added(total, term.topology_key, counts, sign * term.weight, nodes)
        for kind, weight in (
            (REQUIRED_AFFINITY, self._hard_weight),
            (PREFERRED_AFFINITY, 1),
            (PREFERRED_ANTI_AFFINITY, -1),
        ):
            if not weight:
                continue
            for known in self._about(kind, pod, nodes):
                size = weight if kind == REQUIRED_AFFINITY else weight * known.term.weight
                total = _added(total, known.term.topology_key, known.counts, size, nodes)
        return None if total is None else _normalized(total, feasible)

    # Namespaces.

    def _about(self, kind: str, pod: PodInfo, nodes: NodeTable) -> list[TermCounts]:
        if not nodes.counts.has_terms(kind):
            return []
        group = pod.shape.group
        version = self._listers.changes["Namespace"]
        return nodes.counts.terms_about(kind, group, self._listers.namespace_labels(group.namespace), version)

    def _namespaces_of(self, term: PodTerm) -> frozenset[str] | None:
        """The namespaces that a term means now; None is all."""
        selector = term.namespace_selector
        if selector.is_everything:
            return None
        return term.namespaces if selector.nothing else term.namespaces | self._selected(selector)

    def _selected(self, selector: LabelSelector) -> frozenset[str]:
        version = self._listers.changes["Namespace"]
        known = self._namespaces.get(selector)
        if known is None or known[0] != version:
            names = frozenset(
                key.name for key, one in self._listers.namespaces.items() if selector.matches(one.metadata.labels)
            )
            known = self._namespaces[selector] = (version, names)
        return known[1]

    def _common_namespaces(self, terms: Sequence[PodTerm]) -> frozenset[str] | None:
        sets = [names for term in terms if (names := self._namespaces_of(term)) is not None]
        return frozenset.intersection(*sets) if sets else None

    def _means(self, term: PodTerm, group: PodGroup) -> bool:
        return term.means(group, self._listers.namespace_labels(group.namespace))

    # Events.

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A pod that is liked has come, one that is disliked (or dislikes) has gone, or a node joins a domain."""
        wanted, unwanted = pod.shape.terms_of(REQUIRED_AFFINITY), pod.shape.terms_of(REQUIRED_ANTI_AFFINITY)
        if event.resource == NODE:
            if Action.ADD in event.action:
                return True
            return Action.LABELS in event.action and any(
                event.old.metadata.labels.get(term.topology_key) != event.new.metadata.labels.get(term.topology_key)
                for term in wanted + unwanted
            )
        if event.resource != POD:
            return False
        if event.own(pod, Action.LABELS):
            return True
        old, new = event.old, event.new
        if not all(one is None or one.node_name or one.pod.status.nominated_node_name for one in (old, new)):
            return False
        if old is not None and new is not None:
            if Action.LABELS not in event.action:
                return False
            liked = not self._all_mean(wanted, old) and self._all_mean(wanted, new)
            return liked or (self._all_mean(unwanted, old) and not self._all_mean(unwanted, new))
        if new is not None:
            return self._all_mean(wanted, new)
        return self._all_mean(unwanted, old) or self._all_mean(old.shape.terms_of(REQUIRED_ANTI_AFFINITY), pod)

    def _all_mean(self, terms: Sequence[PodTerm], pod: PodInfo) -> bool:
        return bool(terms) and all(self._means(term, pod.shape.group) for term in terms)


def _all_of(terms: Sequence[PodTerm]) -> LabelSelector | AllOf:
    return terms[0].selector if len(terms) == 1 else AllOf(tuple(term.selector for term in terms))


def _added(total: Scores | None, topology_key: str, counts: Counts, weight: int, nodes: NodeTable) -> Scores | None:
    codes = codes_of(nodes, topology_key)
    sums = per_domain(codes, counts)
    if not sums.any():
        return total
    part = spread_out(codes, sums) * weight
    return part if total is None else total + part


def _normalized(scores: Scores, feasible: Mask) -> Scores:
    """From the lowest feasible score, 0, to the highest, MAX_SCORE."""
    among = scores[feasible]
    if not len(among):
        return np.zeros_like(scores)
    lowest, highest = int(among.min()), int(among.max())
    if highest == lowest:
        return np.zeros_like(scores)
    # In floating point and cut off, as upstream does: the last digit can differ from exact division.
    scaled: Scores = (float(MAX_SCORE) * ((scores - lowest) / float(highest - lowest))).astype(np.int64)
    return scaled
