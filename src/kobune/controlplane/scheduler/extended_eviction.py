"""The choice of pods to evict when extenders have a say: they narrow the nodes, and may choose other victims there.

Source: upstream preemption Evaluator, callExtenders; extender.go, ProcessPreemption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kobune.controlplane.scheduler.after_filters import Outcome
from kobune.controlplane.scheduler.extender import EvictionPlan, Extender, ExtenderError
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.preemption import Room, best, cost_of

NONE_LEFT = "no candidate node for preemption"


async def ask_about_evictions(
    outcome: Outcome, pod: PodInfo, nodes: NodeTable, extenders: Sequence[Extender]
) -> Outcome:
    """The outcome as the extenders leave it; as it was when none of them wants to be asked."""
    asked = [one for one in extenders if one.config.preempt_verb and one.is_interested(pod)]
    if not asked or not outcome.candidates:
        return outcome
    rooms = [room for room, _ in outcome.candidates]
    try:
        for extender in asked:
            rooms = await _narrowed(rooms, extender, pod, nodes)
    except ExtenderError as error:
        return _nothing(outcome, str(error))
    if not rooms:
        return _nothing(outcome, NONE_LEFT)
    room = best([(one, cost_of(one)) for one in rooms])
    return outcome._replace(room=room, nominated=room.node_name)


def _nothing(outcome: Outcome, text: str) -> Outcome:
    diagnosis = replace(outcome.diagnosis, afterwards=f"preemption: {text}")
    return outcome._replace(diagnosis=diagnosis, room=None, nominated=None, candidates=())


async def _narrowed(rooms: list[Room], extender: Extender, pod: PodInfo, nodes: NodeTable) -> list[Room]:
    """What one extender leaves. Raises ExtenderError when it fails and may not be ignored."""
    if not rooms:
        return rooms
    ignorable = extender.config.ignorable
    try:
        plans = await extender.preempt(pod, rooms)
        return _read(plans, extender, nodes, ignore_empty=ignorable)
    except ExtenderError:
        if ignorable:
            return rooms
        raise


def _read(plans: Mapping[str, EvictionPlan], extender: Extender, nodes: NodeTable, *, ignore_empty: bool) -> list[Room]:
    rooms = []
    for name, plan in plans.items():
        row = nodes.row_of.get(name)
        if row is None:
            raise ExtenderError(f'nodeinfo not found for node name "{name}"')
        there = nodes.pods[row]
        missing = next((uid for uid in plan.uids if uid not in there), None)
        if missing is not None:
            raise ExtenderError(
                f"extender: {extender.config.url_prefix} claims to preempt pod (UID: &{{{missing}}}) on node: {name}, "
                "but the pod is not found on that node"
            )
        if plan.uids:
            rooms.append(Room(name, tuple(there[uid] for uid in plan.uids), plan.violations))
        elif not ignore_empty:
            raise ExtenderError(f'expected at least one victim pod on node "{name}"')
    return rooms
