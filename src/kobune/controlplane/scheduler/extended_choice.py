"""The choice of a node when extenders have a say: they narrow what the plugins accept, and add to the scores."""

import random
from collections.abc import Sequence

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask
from kobune.controlplane.scheduler.diagnosis import Diagnosis, Exclusion
from kobune.controlplane.scheduler.extender import Extender, ExtenderError
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.profile import Profile

PLUGIN = "Extender"  # As whose refusal it counts; any event may help. Source: upstream ExtenderName.


async def choose_with_extenders(
    pod: PodInfo,
    nodes: NodeTable,
    profile: Profile,
    feasible: Mask,
    extenders: Sequence[Extender],
    rng: random.Random,
) -> int | Diagnosis:
    """The row of the best node, or why there is none.

    Raises:
        ExtenderError: an extender failed that may not be ignored.
    """
    wish = nodes.row_of.get(pod.pod.status.nominated_node_name)
    if wish is not None and wish < len(feasible) and feasible[wish] and np.count_nonzero(feasible) > 1:
        # The node where room was made for the pod comes first. Source: upstream evaluateNominatedNode.
        only = np.zeros(nodes.size, dtype=np.bool_)
        only[wish] = True
        choice = await choose_with_extenders(pod, nodes, profile, only, extenders, rng)
        if not isinstance(choice, Diagnosis):
            return choice
    names = [nodes.names[row] for row in np.flatnonzero(feasible)]
    failed: dict[str, tuple[str, bool]] = {}  # By node: the reason, and whether an eviction might help.
    for extender in extenders:
        if not (names and extender.config.filter_verb and extender.is_interested(pod)):
            continue
        try:
            verdict = await extender.filter(pod, names)
        except ExtenderError:
            if extender.config.ignorable:
                continue
            raise
        names = list(verdict.names)
        failed |= {name: (reason, True) for name, reason in verdict.failed.items()}
        failed |= {name: (reason, False) for name, reason in verdict.hopeless.items()}
    if not names:
        return _diagnosis(pod, nodes, profile, failed)
    if len(names) == 1 and names[0] in nodes.row_of:
        return nodes.row_of[names[0]]  # Nothing to choose by.
    points = await _points(pod, names, extenders)
    mask = np.zeros(nodes.size, dtype=np.bool_)
    mask[[row for name in names if (row := nodes.row_of.get(name)) is not None]] = True
    totals = profile.totals(pod, nodes, mask)
    best = {name: int(totals[nodes.row_of[name]]) + points.get(name, 0) for name in names if name in nodes.row_of}
    highest = max(best.values())
    return nodes.row_of[rng.choice([name for name, total in best.items() if total == highest])]


async def _points(pod: PodInfo, names: Sequence[str], extenders: Sequence[Extender]) -> dict[str, int]:
    """The sum of the extenders' points. One that fails gives none: others can still decide."""
    points: dict[str, int] = {}
    for extender in extenders:
        if extender.config.prioritize_verb and extender.is_interested(pod):
            try:
                given = await extender.prioritize(pod, names)
            except ExtenderError:
                continue
            for name, number in given.items():
                points[name] = points.get(name, 0) + number
    return points


def _diagnosis(pod: PodInfo, nodes: NodeTable, profile: Profile, failed: dict[str, tuple[str, bool]]) -> Diagnosis:
    """What the plugins said of the nodes that they refused, and the extenders of the others."""
    known = profile.diagnose(pod, nodes, Nominations())
    diagnosis = Diagnosis(known.nodes, list(known.exclusions), resolvable=known.resolvable.copy())
    for text, resolvable in dict.fromkeys(failed.values()):
        rows = np.zeros(nodes.size, dtype=np.bool_)
        rows[
            [
                nodes.row_of[name]
                for name, reason in failed.items()
                if reason == (text, resolvable) and name in nodes.row_of
            ]
        ] = True
        diagnosis.exclusions.append(Exclusion(PLUGIN, text, rows, resolvable))
        if resolvable:
            diagnosis.resolvable |= rows
    return diagnosis
