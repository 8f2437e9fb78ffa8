"""Where pods are, by their labels and by their affinity terms: per-node counts kept up to date with every placement.

Spreading and pod affinity ask "how many pods that match this selector are on each node?". Pods with the same namespace
and labels answer alike, so selectors are evaluated once per such group, and a placement adds one to a few arrays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from kobune.controlplane.scheduler.arrays import Counts, widened
from kobune.controlplane.scheduler.pod_info import PodGroup, PodInfo, PodTerm

UNUSED_TERMS_KEPT = 1000  # Terms without a pod that are kept for the next one.
MATCHERS_KEPT = 4096


class PodSelector(Protocol):
    """Which labels are meant. Equal selectors must hash alike."""

    def matches(self, labels: Mapping[str, str]) -> bool: ...


@dataclass(slots=True, eq=False)
class Matcher:
    """Pods of some namespaces whose labels match; `counts[row]` is how many are on each node."""

    namespaces: frozenset[str] | None  # None is every namespace.
    selector: PodSelector
    live_only: bool  # Leaves out pods that are being deleted.
    counts: Counts

    def wants(self, group: PodGroup) -> bool:
        in_scope = self.namespaces is None or group.namespace in self.namespaces
        return in_scope and self.selector.matches(group.labels)


@dataclass(slots=True, eq=False)
class _Residents:
    """Where the pods of one group are."""

    live: dict[int, int] = field(default_factory=dict)  # Row to number of pods.
    deleting: dict[int, int] = field(default_factory=dict)
    matchers: list[Matcher] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class TermCounts:
    """Pods on each node that carry one affinity term."""

    term: PodTerm
    counts: Counts
    total: int = 0


class PodCounts:
    """The counts of all placed pods, over rows of the node table."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._residents: dict[PodGroup, _Residents] = {}
        self._matchers: dict[tuple[frozenset[str] | None, PodSelector, bool], Matcher] = {}
        self._terms: dict[str, dict[PodTerm, TermCounts]] = {}
        self._terms_version = 0
        self._matching: dict[tuple[str, PodGroup, object], tuple[int, list[TermCounts]]] = {}

    def grow(self, capacity: int) -> None:
        self._capacity = capacity
        for matcher in self._matchers.values():
            matcher.counts = widened(matcher.counts, capacity)
        for terms in self._terms.values():
            for term in terms.values():
                term.counts = widened(term.counts, capacity)

    def add(self, pod: PodInfo, row: int) -> None:
        """A pod is now on `row`."""
        self._move(pod, row, 1)

    def remove(self, pod: PodInfo, row: int) -> None:
        """A pod has left `row`."""
        self._move(pod, row, -1)

    def _move(self, pod: PodInfo, row: int, step: int) -> None:
        group = pod.shape.group
        residents = self._residents.get(group)
        if residents is None:
            residents = self._residents[group] = _Residents()
            residents.matchers = [matcher for matcher in self._matchers.values() if matcher.wants(group)]
        where = residents.deleting if pod.deleting else residents.live
        left = where.get(row, 0) + step
        if left:
            where[row] = left
        else:
            del where[row]
            if not residents.live and not residents.deleting:
                del self._residents[group]
        for matcher in residents.matchers:
            if not (matcher.live_only and pod.deleting):
                matcher.counts[row] += step
        for term in pod.shape.terms:
            self._move_term(term, row, step)

    def _move_term(self, term: PodTerm, row: int, step: int) -> None:
        terms = self._terms.setdefault(term.kind, {})
        known = terms.get(term)
        if known is None:
            if len(terms) > UNUSED_TERMS_KEPT:
                self._terms[term.kind] = terms = {key: kept for key, kept in terms.items() if kept.total}
            known = terms[term] = TermCounts(term, np.zeros(self._capacity, dtype=np.int32))
            self._terms_version += 1
        known.counts[row] += step
        known.total += step

    def matching(self, namespaces: frozenset[str] | None, selector: PodSelector, *, live_only: bool) -> Counts:
        """How many pods of `namespaces` that match are on each row. The array is live: do not change it."""
        key = (namespaces, selector, live_only)
        matcher = self._matchers.get(key)
        if matcher is None:
            if len(self._matchers) >= MATCHERS_KEPT:
                self._forget_matchers()
            matcher = Matcher(namespaces, selector, live_only, np.zeros(self._capacity, dtype=np.int32))
            self._matchers[key] = matcher
            for group, residents in self._residents.items():
                if matcher.wants(group):
                    residents.matchers.append(matcher)
                    _tally(matcher, residents)
        return matcher.counts

    def _forget_matchers(self) -> None:
        self._matchers.clear()
        for residents in self._residents.values():
            residents.matchers.clear()

    def has_terms(self, kind: str) -> bool:
        """Whether a placed pod has, or lately had, such a term."""
        return bool(self._terms.get(kind))

    def terms_about(
        self, kind: str, group: PodGroup, namespace_labels: Mapping[str, str], version: object
    ) -> list[TermCounts]:
        """The terms of placed pods that mean pods of `group`; `version` names the state of the namespace's labels."""
        key = (kind, group, version)
        found = self._matching.get(key)
        if found is None or found[0] != self._terms_version:
            terms: Iterable[TermCounts] = self._terms.get(kind, {}).values()
            means = [term for term in terms if term.term.means(group, namespace_labels)]
            if len(self._matching) > MATCHERS_KEPT:
                self._matching.clear()
            found = self._matching[key] = (self._terms_version, means)
        return [term for term in found[1] if term.total]


def _tally(matcher: Matcher, residents: _Residents) -> None:
    for row, count in residents.live.items():
        matcher.counts[row] += count
    if not matcher.live_only:
        for row, count in residents.deleting.items():
            matcher.counts[row] += count
