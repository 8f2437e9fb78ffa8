"""Which nodes are not needed, and since when. Source: upstream cluster-autoscaler, core/scaledown, and its FAQ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kobune.api.objects.core import Node
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.autoscaler.drainability import Blocked, find_blocking, is_daemon, stays_behind
from kobune.controlplane.autoscaler.model import Group, Settings, World
from kobune.controlplane.autoscaler.taints import TO_BE_DELETED, has_taint

DISABLED = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
GPU = "nvidia.com/gpu"


class Kept(StrEnum):
    """Why a node is not removed, under upstream's names."""

    NOT_AUTOSCALED = "NotAutoscaled"
    DISABLED = "ScaleDownDisabledAnnotation"
    BEING_DELETED = "CurrentlyBeingDeleted"
    UTILIZED = "NotUnderutilized"
    MIN_SIZE = "NodeGroupMinSizeReached"
    NO_PLACE = "NoPlaceToMovePods"
    BLOCKED = "BlockedByPod"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that is not needed.

    Attributes:
        pods: those that would have to move; none makes it an empty node.
    """

    name: str
    group: str
    pods: tuple[Pod, ...]
    is_ready: bool
    utilization: float


@dataclass(frozen=True, slots=True)
class Verdict:
    candidates: tuple[Candidate, ...] = ()
    kept: Mapping[str, Kept] = field(default_factory=dict)
    blocked: Mapping[str, tuple[Pod, Blocked]] = field(default_factory=dict)


def find_unneeded(world: World, groups: Sequence[Group], settings: Settings, now: datetime) -> Verdict:
    """The nodes whose pods would all have a place elsewhere, the least used first.

    Pods of several candidates are not promised the same place. A node that takes pods of a candidate in this thought
    stays itself.
    """
    group_of = {machine: group for group in groups for machine in group.machines}
    kept: dict[str, Kept] = {}
    blocked: dict[str, tuple[Pod, Blocked]] = {}
    eligible: list[Candidate] = []
    for name, node in world.nodes.items():
        group = group_of.get(name)
        if group is None:
            kept[name] = Kept.NOT_AUTOSCALED
        elif has_taint(node, TO_BE_DELETED):
            kept[name] = Kept.BEING_DELETED
        elif node.metadata.annotations.get(DISABLED) == "true":
            kept[name] = Kept.DISABLED
        else:
            used = utilization(world, node, settings)
            if node.is_ready and used >= settings.scale_down_utilization_threshold:
                kept[name] = Kept.UTILIZED
                continue
            pods = tuple(pod for pod in world.pods_on(name) if not stays_behind(pod, now))
            eligible.append(Candidate(name, group.name, pods, node.is_ready, used))
    candidates = []
    gone: set[str] = set()
    hosts: set[str] = set()
    for candidate in sorted(eligible, key=lambda each: (bool(each.pods), each.utilization, each.name)):
        blocking = find_blocking(candidate.pods, world.budgets, settings)
        if blocking is not None:
            kept[candidate.name], blocked[candidate.name] = Kept.BLOCKED, blocking
            continue
        # Who takes in another one's pods must stay itself.
        places = world.move(candidate.name, candidate.pods, gone) if candidate.name not in hosts else None
        if places is None:
            kept[candidate.name] = Kept.NO_PLACE
            continue
        hosts |= set(places)
        gone.add(candidate.name)
        candidates.append(candidate)
    return Verdict(tuple(candidates), kept, blocked)


def utilization(world: World, node: Node, settings: Settings) -> float:
    """The larger of cpu's and memory's requested shares; of a node with GPUs the GPUs' share."""
    there = world.allocatable(node)
    resources = (GPU,) if there.get(GPU) else ("cpu", "memory")
    used = dict.fromkeys(resources, 0)
    for pod in world.pods_on(node.name):
        if is_daemon(pod) and settings.ignore_daemonsets_utilization:
            continue
        amounts = world.amounts(pod)
        for resource in resources:
            used[resource] += amounts.get(resource, 0)
    return max((used[each] / there[each] if there.get(each) else 1.0) for each in resources)


class Unneeded:
    """Since when each node has not been needed."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def update(self, candidates: Iterable[Candidate], now: float) -> None:
        """These alone are not needed at `now`, a monotonic time in seconds."""
        self._since = {each.name: self._since.get(each.name, now) for each in candidates}

    def forget_all(self) -> None:
        self._since.clear()

    def to_remove(
        self, candidates: Sequence[Candidate], groups: Sequence[Group], settings: Settings, now: float
    ) -> tuple[list[Candidate], Mapping[str, Kept]]:
        """Those whose time has come: as many empty nodes as may go at once, or else one with pods; and who must stay for
        their group's sake."""
        room = {group.name: group.target - group.min_size for group in groups}
        chosen: list[Candidate] = []
        kept: dict[str, Kept] = {}
        for candidate in candidates:
            wait = settings.scale_down_unneeded_time if candidate.is_ready else settings.scale_down_unready_time
            if now - self._since.get(candidate.name, now) < wait:
                continue
            if room.get(candidate.group, 0) <= 0:
                kept[candidate.name] = Kept.MIN_SIZE
                continue
            if candidate.pods and chosen:
                break
            if len(chosen) >= settings.max_empty_bulk_delete:
                break
            chosen.append(candidate)
            room[candidate.group] -= 1
            if candidate.pods:
                break
        return chosen, kept
