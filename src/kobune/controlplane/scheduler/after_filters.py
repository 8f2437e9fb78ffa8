"""What can still be done for a pod that fits nowhere, in the plugins' order: give a claim back, or evict other pods.

Source: upstream RunPostFilterPlugins; the texts follow the reasons in the pod's message.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from kobune.controlplane.scheduler.diagnosis import Diagnosis
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.preemption import Candidate, NoRoom, Room, best
from kobune.controlplane.scheduler.profiles import Running
from kobune.controlplane.scheduler.views import PodDisruptionBudget, ResourceClaim

# Upstream's DynamicResources misses what it would have noted, had the pod not been refused before its turn.
NOTHING_NOTED = "not found"


class Outcome(NamedTuple):
    diagnosis: Diagnosis  # With the texts of what was tried in vain.
    room: Room | None = None  # Pods to evict.
    released: ResourceClaim | None = None  # A claim to give back.
    nominated: str | None = None  # The node kept for the pod, "" to keep none any more, None to leave that as it is.
    tried_eviction: bool = False
    candidates: tuple[Candidate, ...] = ()  # Among which `room` is the best.


def after_filters(
    pod: PodInfo,
    nodes: NodeTable,
    nominated: Nominations,
    running: Running,
    diagnosis: Diagnosis,
    budgets: Sequence[PodDisruptionBudget],
    rng: random.Random,
) -> Outcome:
    """What to do next. The table is changed while evictions are tried, and as before in the end."""
    said, released = [], None
    if running.releasing is not None:
        early = diagnosis.refusal and not diagnosis.resolvable.any()
        if early and running.releasing.name not in diagnosis.refused_by:
            return Outcome(replace(diagnosis, afterwards=NOTHING_NOTED))
        text, released = running.releasing.release(pod, nodes)
        said.append(text)
    if running.preemption is None:
        return Outcome(replace(diagnosis, afterwards=", ".join(said)), released=released)
    found = running.preemption.candidates(pod, nodes, nominated, diagnosis, budgets, rng)
    if not isinstance(found, NoRoom):
        room = best(found)
        return Outcome(diagnosis, room, released, room.node_name, tried_eviction=True, candidates=tuple(found))
    said.append(f"preemption: {found.text}")
    return Outcome(
        replace(diagnosis, afterwards=", ".join(said)), None, released, "" if found.clear else None, tried_eviction=True
    )
