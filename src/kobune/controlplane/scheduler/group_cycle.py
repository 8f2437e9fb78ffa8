"""The cycle of a PodGroup: all its pods that have no node are tried together, each seeing those before it as placed.

Nothing of it stays: what comes of it is for the caller to do. Source: upstream schedule_one_podgroup.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from enum import Enum
from typing import NamedTuple

from kobune.controlplane.scheduler.after_filters import Outcome
from kobune.controlplane.scheduler.group_members import GroupMembers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.profiles import Running
from kobune.controlplane.scheduler.queue import QueuedPod

UNSCHEDULABLE = "pod group is unschedulable"
ASKED_TO_WAIT = "one or more plugins asked to wait and no plugin rejected pod"
AFTER_EVICTION = "pod group is waiting for preemption to complete"

# The row that takes a pod, or what is to be done when none does.
Find = Callable[[PodInfo], Awaitable[int | Outcome]]


class Verdict(Enum):
    SCHEDULED = "scheduled"  # Those that fit are bound.
    WAITING = "waiting_on_preemption"  # It would fit once pods that are evicted for it have gone.
    UNSCHEDULABLE = "unschedulable"


class Tried(NamedTuple):
    """One pod of the group."""

    queued: QueuedPod
    row: int | None  # Where it fits, or would after an eviction.
    outcome: Outcome | None  # None: it fits as things are.
    waits: str = ""  # What it would wait for before it is bound.


class GroupOutcome(NamedTuple):
    verdict: Verdict
    tried: tuple[Tried, ...]

    @property
    def message(self) -> str:
        """As in the group's condition."""
        texts = {Verdict.SCHEDULED: "", Verdict.WAITING: f"{UNSCHEDULABLE}, {AFTER_EVICTION}"}
        return texts.get(self.verdict, UNSCHEDULABLE)


def several_schedulers(names: Sequence[str]) -> str:
    """What is said of a group whose pods name more than one scheduler."""
    return (
        "all pods in a single pod group should have the same .spec.schedulerName set, "
        f'got: "{names[0]}" and "{names[1]}"'
    )


def in_order(pods: Sequence[QueuedPod]) -> list[QueuedPod]:
    """As they are tried: by priority, then by the time of their first attempt."""
    return sorted(pods, key=lambda queued: (-queued.pod.priority, queued.first_attempt))


async def try_group(
    pods: Sequence[QueuedPod], running: Running, nodes: NodeTable, members: GroupMembers, find: Find
) -> GroupOutcome:
    """What can be done for these pods of one group. The table is as before in the end.

    Raises:
        LookupError, ExtenderError: one of them cannot be judged, and so none of them.
    """
    tried: list[Tried] = []
    verdict, evicts = Verdict.UNSCHEDULABLE, False
    with ExitStack() as placed:
        for queued in pods:
            found = await find(queued.pod)
            outcome = found if isinstance(found, Outcome) else None
            row = found if isinstance(found, int) else _after_eviction(found, nodes)
            if row is None:
                tried.append(Tried(queued, None, outcome))
                continue
            _place(queued.pod, row, running, nodes, members, placed)
            waits = running.permit(queued.pod)
            tried.append(Tried(queued, row, outcome, waits))
            evicts = evicts or outcome is not None
            if not waits:
                verdict = Verdict.WAITING if evicts else Verdict.SCHEDULED
    return GroupOutcome(verdict, tuple(tried))


def _after_eviction(outcome: Outcome, nodes: NodeTable) -> int | None:
    return nodes.row_of.get(outcome.room.node_name) if outcome.room is not None else None


def _place(
    pod: PodInfo, row: int, running: Running, nodes: NodeTable, members: GroupMembers, placed: ExitStack
) -> None:
    """Count the pod on the node until `placed` is left."""
    name, group = nodes.names[row], pod.scheduling_group
    assert group is not None
    for plugin in running.reserves:
        plugin.reserve(pod, nodes, row)
        placed.callback(plugin.unreserve, pod)
    nodes.add_pod(pod, name)
    placed.callback(nodes.remove_pod, pod.uid, name)
    members.put(group, pod.uid, placed=True)
    placed.callback(members.put, group, pod.uid, placed=False)
