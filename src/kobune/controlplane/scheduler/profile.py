"""One scheduler profile: its plugins, and the cycle that picks a node for a pod. Pure but for the table it reads."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask, Scores
from kobune.controlplane.scheduler.diagnosis import Diagnosis, Exclusion
from kobune.controlplane.scheduler.node_table import CORE, NodeTable, PriorityLoad
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.plugins.plugin import Conditional, Filter, Narrow, PreFilter, Rank, Scope, Score
from kobune.controlplane.scheduler.pod_info import PodInfo, PodShape
from kobune.controlplane.scheduler.verdict import INFEASIBLE, Verdict, Weighted

VERDICT_CELLS = 4_000_000  # Rows over all verdicts that are kept: each costs about 40 bytes.
MIN_VERDICTS = 8


@dataclass(frozen=True, slots=True)
class Ranked:
    plugin: Rank
    weight: int


class Prospects(NamedTuple):
    """What is known of a pod before nodes are judged."""

    refusal: tuple[str, str, bool] | None  # (plugin, text, resolvable) when nothing will do.
    naming: list[str]  # The plugins that name the only nodes in question, and those nodes.
    allowed: frozenset[str] | None


class Profile:
    """The plugins of one `schedulerName`, in the order in which they are asked."""

    def __init__(
        self,
        scheduler_name: str,
        filters: Sequence[Filter],
        scores: Sequence[Weighted],
        ranks: Sequence[Ranked] = (),
    ) -> None:
        self.scheduler_name = scheduler_name
        self.filters, self.scores, self.ranks = tuple(filters), tuple(scores), tuple(ranks)
        # Asking an object for its methods is slow, so it is done once.
        self._before = tuple(
            (plugin, plugin if isinstance(plugin, PreFilter) else None, plugin if isinstance(plugin, Narrow) else None)
            for plugin in filters
            if isinstance(plugin, PreFilter | Narrow)
        )
        self._asked = tuple((plugin, plugin if isinstance(plugin, Conditional) else None) for plugin in filters)
        self._wider = tuple(asked for asked in self._asked if asked[0].scope in (Scope.ROOM, Scope.CLUSTER))
        self._verdicts: dict[PodShape, Verdict] = {}
        self._diagnoses: dict[PodShape, tuple[tuple[int, int], Diagnosis]] = {}

    def find_node(self, pod: PodInfo, nodes: NodeTable, nominated: Nominations, rng: random.Random) -> int | None:
        """The row of the best node, ties broken by `rng`; None when there is none."""
        refusal, _, allowed = self._prospects(pod, nodes)
        if refusal is not None:
            return None
        if allowed is not None and len(allowed) == 1:
            # A DaemonSet's pod: there is nothing to compare, and its shape is for this one node.
            only = nodes.row_of.get(next(iter(allowed)))
            return only if only is not None and self.accepts_beside(pod, nodes, only, nominated) else None
        verdict = self.verdict(pod, nodes)
        mask = self._feasible(pod, nodes, nominated, verdict)
        wish = pod.pod.status.nominated_node_name
        if wish:
            # The node where room was made for the pod: take it if it will do, without looking at the others.
            row = nodes.row_of.get(wish)
            if row is not None and (verdict.mask if mask is None else mask)[row]:
                return row
        total = self._totals(pod, nodes, verdict, mask)
        best = total.max()
        if best == INFEASIBLE:
            return None
        return _pick(total == best, rng)

    def forget(self) -> None:
        """Judge everything anew: something has changed that is neither a node nor a pod and bears on kept answers."""
        self._verdicts.clear()
        self._diagnoses.clear()

    def feasible(self, pod: PodInfo, nodes: NodeTable, nominated: Nominations) -> Mask:
        """Which rows of the table could take the pod."""
        if self._prospects(pod, nodes).refusal is not None:
            return np.zeros(nodes.size, dtype=np.bool_)
        verdict = self.verdict(pod, nodes)
        mask = self._feasible(pod, nodes, nominated, verdict)
        return (verdict.mask if mask is None else mask)[nodes.rows]

    def totals(self, pod: PodInfo, nodes: NodeTable, feasible: Mask) -> Scores:
        """The weighted sum of all scores for each feasible row, INFEASIBLE elsewhere."""
        mask = np.zeros(nodes.capacity, dtype=np.bool_)
        mask[nodes.rows] = feasible
        return self._totals(pod, nodes, self.verdict(pod, nodes), mask)

    def accepts(self, pod: PodInfo, nodes: NodeTable, row: int) -> bool:
        """Whether every filter accepts one node as it is now. For trying things: no cache is used or filled."""
        if not nodes.exists[row]:
            return False
        rows = slice(row, row + 1)
        for plugin, conditional in self._asked:
            if (
                plugin.concerns(pod)
                and (conditional is None or conditional.applies(pod, nodes))
                and not plugin.filter(pod, nodes, rows)[0]
            ):
                return False
        return True

    def accepts_beside(self, pod: PodInfo, nodes: NodeTable, row: int, nominated: Nominations) -> bool:
        """Whether the node would do now, and also once pods that are expected there have come."""
        if not self.accepts(pod, nodes, row):
            return False
        guests = [one for one in nominated.on(nodes.names[row]) if one.priority >= pod.priority and one.uid != pod.uid]
        if not guests:
            return True
        with nominated.moved_in(guests, nodes, row):
            return self.accepts(pod, nodes, row)

    def wants_only_room(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """No filter looks at more of the pods on a node than what they request, as far as this pod is concerned."""
        if pod.shape.extended:
            return False
        for plugin, conditional in self._wider:
            if plugin.concerns(pod) and (conditional is None or conditional.applies(pod, nodes)):
                return False
        return True

    def refusals(self, pod: PodInfo, nodes: NodeTable, row: int) -> list[str]:
        """In upstream's words, why one node is refused as it is now."""
        only = np.zeros(nodes.size, dtype=np.bool_)
        only[row] = True
        diagnosis = Diagnosis(1, resolvable=np.zeros(nodes.size, dtype=np.bool_))
        self._exclude(pod, nodes, only, diagnosis)
        return [exclusion.text for exclusion in diagnosis.exclusions]

    def verdict(self, pod: PodInfo, nodes: NodeTable) -> Verdict:
        """The verdict on the pod's shape, up to date."""
        verdict = self._verdicts.pop(pod.shape, None)
        if verdict is None:
            if len(self._verdicts) >= max(MIN_VERDICTS, VERDICT_CELLS // nodes.capacity):
                del self._verdicts[next(iter(self._verdicts))]  # The one not used for longest.
            verdict = Verdict(pod, self.filters, self.scores, nodes)
        else:
            verdict.bring_up_to_date(pod, nodes)
        self._verdicts[pod.shape] = verdict
        return verdict

    def _feasible(self, pod: PodInfo, nodes: NodeTable, nominated: Nominations, verdict: Verdict) -> Mask | None:
        """The mask over all of the table; None when it is the verdict's own."""
        mask: Mask | None = None
        for plugin, conditional in verdict.cluster_filters:
            if conditional is not None and not conditional.applies(pod, nodes):
                continue
            judged = np.zeros(nodes.capacity, dtype=np.bool_)
            judged[nodes.rows] = plugin.filter(pod, nodes, nodes.rows)
            mask = judged if mask is None else mask & judged
        if mask is not None:
            mask &= verdict.mask
        if nominated:
            mask = verdict.mask.copy() if mask is None else mask
            if nominated.want_only_room and self.wants_only_room(pod, nodes):
                load = nominated.load_ahead_of(pod, nodes)
                mask &= (load.pods == 0) | _has_room(pod, nodes, load)
                return mask
            for row, guests in nominated.ahead_of(pod, nodes):
                if mask[row]:
                    with nominated.moved_in(guests, nodes, row):
                        mask[row] = self.accepts(pod, nodes, row)
        return mask

    def _totals(self, pod: PodInfo, nodes: NodeTable, verdict: Verdict, mask: Mask | None) -> Scores:
        total = verdict.total
        feasible = verdict.mask if mask is None else mask
        if mask is not None:
            total = np.where(mask, total, INFEASIBLE)
        extra: Scores | None = None
        for raw in verdict.raw:
            if raw.is_flat:
                continue  # All nodes alike: nothing to choose by.
            part = raw.normalize.normalize(raw.scores, feasible) * raw.weight
            extra = part if extra is None else extra + part
        for ranked in self.ranks:
            scores = ranked.plugin.rank(pod, nodes, feasible[nodes.rows])
            if scores is None:
                continue
            part = np.zeros(nodes.capacity, dtype=np.int64)
            part[nodes.rows] = scores * ranked.weight
            extra = part if extra is None else extra + part
        return total if extra is None else np.where(feasible, total + extra, INFEASIBLE)

    def _prospects(self, pod: PodInfo, nodes: NodeTable) -> Prospects:
        held: tuple[str, str, bool] | None = None
        allowed: frozenset[str] | None = None
        naming: list[str] = []
        for plugin, before, narrow in self._before:
            if before is not None:
                refusal = before.refuse(pod, nodes)
                if refusal is not None and not refusal.resolvable:
                    return Prospects((plugin.name, refusal.text, False), naming, allowed)
                if refusal is not None:
                    held = (plugin.name, refusal.text, True)
                    continue
            names = narrow.narrow(pod, nodes) if narrow is not None else None
            if names is not None:
                naming.append(plugin.name)
                allowed = names if allowed is None else allowed & names
                if not allowed:
                    return Prospects((",".join(naming), _none_left(naming), False), naming, allowed)
        return Prospects(held, naming, allowed)

    def diagnose(self, pod: PodInfo, nodes: NodeTable, nominated: Nominations) -> Diagnosis:
        """Why no node takes the pod. Each node counts for the first plugin that refuses it."""
        known = self._diagnoses.get(pod.shape)
        positions = (nodes.node_changes.end, nodes.pod_changes.end)
        if known is not None and known[0] == positions and not nominated:
            return known[1]
        diagnosis = self._diagnose(pod, nodes, nominated)
        if len(self._diagnoses) > MIN_VERDICTS:
            self._diagnoses.clear()
        self._diagnoses[pod.shape] = (positions, diagnosis)
        return diagnosis

    def _diagnose(self, pod: PodInfo, nodes: NodeTable, nominated: Nominations) -> Diagnosis:
        left = nodes.exists[nodes.rows].copy()
        diagnosis = Diagnosis(len(nodes), resolvable=np.zeros(nodes.size, dtype=np.bool_))
        refusal, naming, allowed = self._prospects(pod, nodes)
        if refusal is not None:
            diagnosis.refused_by, diagnosis.refusal, resolvable = refusal
            if resolvable:
                diagnosis.resolvable = left
            return diagnosis
        if allowed is not None:
            named = np.zeros(nodes.size, dtype=np.bool_)
            named[[row for name in allowed if (row := nodes.row_of.get(name)) is not None]] = True
            text = f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(naming))}]"
            diagnosis.exclusions.append(Exclusion(",".join(sorted(naming)), text, left & ~named, False))
            left &= named
        left = self._exclude(pod, nodes, left, diagnosis)
        if nominated and nominated.want_only_room and self.wants_only_room(pod, nodes):
            self._exclude_promised(pod, nodes, left, nominated.load_ahead_of(pod, nodes), diagnosis)
            return diagnosis
        for row, guests in nominated.ahead_of(pod, nodes):
            if left[row]:
                only = np.zeros(nodes.size, dtype=np.bool_)
                only[row] = True
                with nominated.moved_in(guests, nodes, row):
                    self._exclude(pod, nodes, only, diagnosis)
        return diagnosis

    def _exclude_promised(
        self, pod: PodInfo, nodes: NodeTable, left: Mask, load: PriorityLoad, diagnosis: Diagnosis
    ) -> None:
        """Add the exclusions of nodes that have room, but not beside the pods expected there."""
        rows = nodes.rows
        left = left & (load.pods[rows] > 0)
        short = {"Too many pods": nodes.pod_count[rows] + load.pods[rows] >= nodes.allowed_pods[rows]}
        for column in range(CORE):
            free = nodes.allocatable[column, rows] - nodes.requested[column, rows] - load.requested[column, rows]
            wanted = pod.shape.requests[column]
            short[f"Insufficient {nodes.resources[column]}"] = (free < wanted) & (wanted > 0)
        for text, mask in short.items():
            refused = left & mask
            if refused.any():
                diagnosis.exclusions.append(Exclusion("NodeResourcesFit", text, refused, True))
                diagnosis.resolvable |= refused

    def _exclude(self, pod: PodInfo, nodes: NodeTable, left: Mask, diagnosis: Diagnosis) -> Mask:
        """Add the exclusions of the rows in `left`; returns the rows that nobody refuses."""
        for plugin in self.filters:
            if not plugin.concerns(pod):
                continue
            passes = plugin.filter(pod, nodes, nodes.rows)
            refused = left & ~passes
            if not refused.any():
                continue
            left = left & passes
            unresolvable = np.zeros(nodes.size, dtype=np.bool_)
            for reason in plugin.explain(pod, nodes):
                rows = refused & reason.rows
                if rows.any():
                    diagnosis.exclusions.append(Exclusion(plugin.name, reason.text, rows, reason.resolvable))
                    if not reason.resolvable:
                        unresolvable |= rows
            diagnosis.resolvable |= refused & ~unresolvable
        return left


def _pick(winners: Mask, rng: random.Random) -> int:
    """One of the True entries, each as likely as the others; there is at least one."""
    count = int(np.count_nonzero(winners))
    if count == 1:
        return int(winners.argmax())
    size = len(winners)
    if 8 * count > size:
        # Where most nodes tie, guessing is faster than listing them.
        while True:
            row = rng.randrange(size)
            if winners[row]:
                return row
    return int(np.flatnonzero(winners)[rng.randrange(count)])


def _has_room(pod: PodInfo, nodes: NodeTable, load: PriorityLoad) -> Mask:
    """Rows where the pod fits beside what the load will take."""
    mask: Mask = nodes.pod_count + load.pods < nodes.allowed_pods
    for column in range(CORE):
        wanted = pod.shape.requests[column]
        if wanted:
            mask &= nodes.allocatable[column] - nodes.requested[column] - load.requested[column] >= wanted
    return mask


def _none_left(naming: list[str]) -> str:
    if len(naming) == 1:
        return f"node(s) didn't satisfy plugin {naming[0]}"
    return f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(naming))}] simultaneously"


def split_scores(plugins: Sequence[tuple[object, int]]) -> tuple[list[Weighted], list[Ranked]]:
    """The plugins that score nodes one by one, and those that rank them all at once."""
    scores = [Weighted(plugin, weight) for plugin, weight in plugins if isinstance(plugin, Score)]
    ranks = [Ranked(plugin, weight) for plugin, weight in plugins if isinstance(plugin, Rank)]
    return scores, ranks
