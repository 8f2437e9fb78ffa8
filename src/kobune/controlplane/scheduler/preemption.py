"""Making room for a pod by evicting pods of lower priority: on which node, and which of its pods.

Source: Kubernetes documentation, Pod Priority and Preemption; upstream preemption and defaultpreemption.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kobune.api.objects.meta import find_condition
from kobune.controlplane.scheduler.diagnosis import Diagnosis, none_available
from kobune.controlplane.scheduler.node_table import CORE, NodeTable, PriorityLoad
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodInfo, PodShape, selector_of
from kobune.controlplane.scheduler.profile import Profile
from kobune.controlplane.scheduler.views import PodDisruptionBudget

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NEVER = "not eligible due to preemptionPolicy=Never."
WAITING = "not eligible due to a terminating pod on the nominated node."

_LATEST = datetime.max.replace(tzinfo=UTC)  # Stands for a pod that has not started.
_ABOVE_ALL_NEGATIVES = 2**31  # Added to every priority, so that more victims always sum up to more.


SHAPES_KEPT = 32
Cost = tuple[int, int, int, int, float]  # Compared in this order; the less the better.


class Room(NamedTuple):
    """What has to go, and from where; the most important victim first."""

    node_name: str
    victims: tuple[PodInfo, ...]
    violations: int = 0  # Victims whose disruption budget does not allow it.


Candidate = tuple[Room, Cost]


class NoRoom(NamedTuple):
    """Why no eviction helps; `clear`: the pod's claim to a node is void."""

    text: str
    clear: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How many nodes are tried at most. Source: upstream DefaultPreemptionArgs."""

    percentage: int = 10
    absolute: int = 100

    def candidates(self, nodes: int) -> int:
        return min(max(nodes * self.percentage // 100, self.absolute), nodes)


DEFAULT_LIMITS = Limits()


class _Kept:
    """Rooms found for pods of one shape and priority, good until something changes on the row."""

    def __init__(self) -> None:
        self.rooms: dict[int, Candidate | None] = {}  # By row; None: evictions there do not help.
        self._positions = (0, 0, 0)

    def drop_stale(self, nodes: NodeTable, nominated: Nominations) -> None:
        """Forget the rows that have changed since the last time."""
        logs = (nodes.node_changes, nodes.pod_changes, nominated.changes)
        for log, position in zip(logs, self._positions, strict=True):
            rows = log.since(position)
            if rows is None:
                self.rooms.clear()
            else:
                for row in rows:
                    self.rooms.pop(row, None)
        self._positions = (logs[0].end, logs[1].end, logs[2].end)


class Preemption:
    """The rules, over one profile's filters."""

    def __init__(self, profile: Profile, limits: Limits = DEFAULT_LIMITS) -> None:
        self.profile, self.limits = profile, limits
        self._kept: dict[tuple[PodShape, int], _Kept] = {}

    def make_room(
        self,
        pod: PodInfo,
        nodes: NodeTable,
        nominated: Nominations,
        diagnosis: Diagnosis,
        budgets: Sequence[PodDisruptionBudget],
        rng: random.Random,
    ) -> Room | NoRoom:
        """The best node to evict pods from. The table is changed while trying, and as before in the end."""
        found = self.candidates(pod, nodes, nominated, diagnosis, budgets, rng)
        return found if isinstance(found, NoRoom) else best(found)

    def candidates(
        self,
        pod: PodInfo,
        nodes: NodeTable,
        nominated: Nominations,
        diagnosis: Diagnosis,
        budgets: Sequence[PodDisruptionBudget],
        rng: random.Random,
    ) -> list[Candidate] | NoRoom:
        """Nodes to evict pods from, at least one. The table is changed while trying, and as before in the end."""
        if pod.pod.spec.preemption_policy == "Never":
            return NoRoom(NEVER, clear=False)
        if self._is_waiting(pod, nodes, diagnosis):
            return NoRoom(WAITING, clear=False)
        rows = np.flatnonzero(diagnosis.resolvable & nodes.exists[: len(diagnosis.resolvable)])
        lower = nodes.below(pod.priority)
        expected = nominated.load_ahead_of(pod, nodes) if nominated else None
        with_victims = rows[lower.pods[rows] > 0]
        large_enough = with_victims[self._fits_without(pod, nodes, lower.pods, lower.requested, with_victims)]
        wanted = self.limits.candidates(len(rows)) if len(rows) else 0
        start = rng.randrange(len(large_enough)) if len(large_enough) else 0
        candidates: list[Candidate] = []
        refused: dict[int, list[str]] = {}
        simple = nominated.want_only_room and self.profile.wants_only_room(pod, nodes)
        order = np.roll(large_enough, -start)
        sums = _Sums(pod, nodes, order, expected) if simple else None
        known = self._known(pod, nodes, nominated).rooms if simple and not budgets else {}
        unbroken = False
        for index, row in enumerate(order.tolist()):
            if row in known:
                candidate = known[row]
            else:
                room = (
                    self._by_trying(pod, nodes, nominated, row, budgets, refused)
                    if sums is None
                    else sums.room(index, row, budgets)
                )
                candidate = known[row] = None if room is None else (room, cost_of(room))
            if candidate is not None:
                candidates.append(candidate)
                unbroken = unbroken or candidate[0].violations == 0
                if unbroken and len(candidates) >= wanted:
                    break
        if candidates:
            return candidates
        return NoRoom(self._no_room(pod, nodes, rows, with_victims, large_enough, refused), clear=True)

    def _known(self, pod: PodInfo, nodes: NodeTable, nominated: Nominations) -> _Kept:
        """What is known for pods like this one."""
        key = (pod.shape, pod.priority)
        kept = self._kept.pop(key, None) or _Kept()
        if len(self._kept) >= SHAPES_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = kept
        kept.drop_stale(nodes, nominated)
        return kept

    def _is_waiting(self, pod: PodInfo, nodes: NodeTable, diagnosis: Diagnosis) -> bool:
        """Victims of an earlier eviction are still going: more evictions would be too many."""
        wish = pod.pod.status.nominated_node_name
        row = nodes.row_of.get(wish) if wish else None
        if row is None or row >= len(diagnosis.resolvable) or not diagnosis.resolvable[row]:
            return False
        return any(
            one.priority < pod.priority and one.deleting and _is_preempted(one) for one in nodes.pods[row].values()
        )

    def _fits_without(
        self,
        pod: PodInfo,
        nodes: NodeTable,
        pods: NDArray[np.int64],
        requested: NDArray[np.int64],
        rows: NDArray[np.intp],
    ) -> NDArray[np.bool_]:
        """Rows where the pod's requests would fit if all lower pods had gone."""
        fits: NDArray[np.bool_] = nodes.pod_count[rows] - pods[rows] < nodes.allowed_pods[rows]
        for column in range(CORE):
            wanted = pod.shape.requests[column]
            if wanted:
                used = nodes.requested[column, rows] - requested[column, rows]
                fits &= nodes.allocatable[column, rows] - used >= wanted
        return fits

    def _by_trying(
        self,
        pod: PodInfo,
        nodes: NodeTable,
        nominated: Nominations,
        row: int,
        budgets: Sequence[PodDisruptionBudget],
        refused: dict[int, list[str]],
    ) -> Room | None:
        """Take all lower pods off, then put back, the most important first, each that does not stand in the way."""
        name = nodes.names[row]
        potential = _lower(pod, nodes, row)
        with _gone(potential, nodes, name) as away:
            if not self.profile.accepts_beside(pod, nodes, row, nominated):
                refused[row] = self.profile.refusals(pod, nodes, row)
                return None
            violating, others = split_by_budget(potential, budgets)
            victims, violations = [], 0
            for group in (violating, others):
                for one in group:
                    nodes.add_pod(one, name)
                    away.discard(one.uid)
                    if not self.profile.accepts_beside(pod, nodes, row, nominated):
                        nodes.remove_pod(one.uid, name)
                        away.add(one.uid)
                        victims.append(one)
                        violations += group is violating
        return Room(name, tuple(sorted(victims, key=importance)), violations) if victims else None

    def _no_room(
        self,
        pod: PodInfo,
        nodes: NodeTable,
        rows: NDArray[np.intp],
        with_victims: NDArray[np.intp],
        large_enough: NDArray[np.intp],
        refused: dict[int, list[str]],
    ) -> str:
        counts = {NOT_HELPFUL: len(nodes) - len(rows), NO_VICTIMS: len(rows) - len(with_victims)}
        for row in sorted(set(with_victims.tolist()) - set(large_enough.tolist())):
            with _gone(_lower(pod, nodes, row), nodes, nodes.names[row]):
                refused[row] = self.profile.refusals(pod, nodes, row)
        for texts in refused.values():
            for text in texts:
                counts[text] = counts.get(text, 0) + 1
        return none_available(len(nodes), counts)


def best(candidates: Sequence[Candidate]) -> Room:
    """The one that costs least; of several, the first."""
    return min(candidates, key=lambda candidate: candidate[1])[0]


def importance(pod: PodInfo) -> tuple[int, datetime]:
    """Sorts the most important pod first: higher priority, then longer running."""
    return -pod.priority, pod.started or _LATEST


def split_by_budget(
    pods: Sequence[PodInfo], budgets: Sequence[PodDisruptionBudget]
) -> tuple[list[PodInfo], list[PodInfo]]:
    """(pods whose eviction would break a budget, the others), when evicted in this order."""
    selectors = [(budget, selector_of(budget.spec.selector)) for budget in budgets]
    allowed = [budget.status.disruptions_allowed for budget in budgets]
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        broken = False
        for index, (budget, selector) in enumerate(selectors if pod.shape.labels else ()):
            if budget.metadata.namespace != pod.shape.namespace or selector.is_everything:
                continue  # A budget without a selector means no pod.
            if not selector.matches(pod.shape.labels) or pod.name in (budget.status.disrupted_pods or {}):
                continue
            allowed[index] -= 1
            broken = broken or allowed[index] < 0
        (violating if broken else others).append(pod)
    return violating, others


class _Sums:
    """What each of some rows would have left with the pod on it and nobody gone, for trying by arithmetic alone.

    This is enough where nothing but cpu, memory, storage and the number of pods matters.
    """

    def __init__(self, pod: PodInfo, nodes: NodeTable, rows: NDArray[np.intp], expected: PriorityLoad | None) -> None:
        self._pod, self._nodes = pod, nodes
        self._columns = [column for column in range(CORE) if pod.shape.requests[column]]
        places = nodes.allowed_pods[rows] - nodes.pod_count[rows] - 1
        spare = [
            nodes.allocatable[column, rows] - nodes.requested[column, rows] - pod.shape.requests[column]
            for column in self._columns
        ]
        if expected is not None:
            places = places - expected.pods[rows]
            spare = [left - expected.requested[column, rows] for left, column in zip(spare, self._columns, strict=True)]
        self._places: list[int] = places.tolist()
        self._spare: list[list[int]] = [left.tolist() for left in spare]

    def room(self, index: int, row: int, budgets: Sequence[PodDisruptionBudget]) -> Room | None:
        """What has to go from `row`, the `index`-th of the rows."""
        potential = _lower(self._pod, self._nodes, row)
        places = self._places[index] + len(potential)
        spare = [left[index] for left in self._spare]
        columns = range(len(spare))
        requests = [[one.shape.core[column] for column in self._columns] for one in potential]
        for request in requests:
            for column in columns:
                spare[column] += request[column]
        if places < 0 or any(left < 0 for left in spare):
            return None
        violating = set(map(id, split_by_budget(potential, budgets)[0])) if budgets else set()
        pairs = list(zip(potential, requests, strict=True))
        if violating:
            pairs.sort(key=lambda pair: id(pair[0]) not in violating)
        victims, violations = [], 0
        for one, request in pairs:
            if places >= 1 and all(request[column] <= spare[column] for column in columns):
                places -= 1
                for column in columns:
                    spare[column] -= request[column]
            else:
                victims.append(one)
                violations += id(one) in violating
        if violating:
            victims.sort(key=importance)
        return Room(self._nodes.names[row], tuple(victims), violations) if victims else None


def _lower(pod: PodInfo, nodes: NodeTable, row: int) -> list[PodInfo]:
    """The pods that may have to go, the most important first."""
    return sorted((one for one in nodes.pods[row].values() if one.priority < pod.priority), key=importance)


@contextmanager
def _gone(pods: Sequence[PodInfo], nodes: NodeTable, name: str) -> Iterator[set[str]]:
    """Within the block the pods are off the node; whoever puts some back takes them out of the set, which is put back after."""
    away = {pod.uid for pod in pods}
    for pod in pods:
        nodes.remove_pod(pod.uid, name)
    try:
        yield away
    finally:
        for pod in pods:
            if pod.uid in away:
                nodes.add_pod(pod, name)


def cost_of(room: Room) -> Cost:
    """What an eviction costs: budgets broken, the highest priority lost, all priorities, all pods, and old pods lost."""
    victims = room.victims
    highest = victims[0].priority
    earliest = min((one.started or _LATEST) for one in victims if one.priority == highest)
    total = sum(one.priority + _ABOVE_ALL_NEGATIVES for one in victims)
    return room.violations, highest, total, len(victims), -earliest.timestamp()


def _is_preempted(pod: PodInfo) -> bool:
    condition = find_condition(pod.pod.status.conditions, "DisruptionTarget")
    return condition is not None and condition.status == "True" and condition.reason == "PreemptionByScheduler"
