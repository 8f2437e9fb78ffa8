"""Topology-aware hints: each zone gets a share of a Service's endpoints like its share of the cluster's CPUs.

Endpoints are hinted to their own zone; zones with more than their share lend some to those with less. Source: upstream's
endpointslice topologycache.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kobune.api.objects.core import Node
from kobune.api.quantity import parse_quantity

ZONE = "topology.kubernetes.io/zone"
# Of both annotations the older one decides, as long as it is there.
ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
OVERLOAD = 0.2  # By how much an endpoint may get more than the average. Source: upstream overloadThreshold.

ENABLED, DISABLED = "Topology Aware Hints has been enabled", "Topology Aware Hints has been disabled"
NO_ZONE = "One or more endpoints do not have a zone specified"
FEW_FACTS = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
FEW_ENDPOINTS = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"


class Impossible(Exception):
    """There can be no hints, for the reason given in upstream's words."""


class Share(NamedTuple):
    """How many endpoints a zone should have, and at most."""

    desired: float
    maximum: int


class Placed(NamedTuple):
    """A ready endpoint: what tells it apart, where it is, and the zone it was hinted to before ("" for none)."""

    uid: str
    zone: str
    before: str


def wants_hints(annotations: Mapping[str, str]) -> bool:
    """Whether a Service asks for them."""
    said = next((annotations[name] for name in ANNOTATIONS if name in annotations), "")
    return said in ("Auto", "auto")


def cpu_ratios(nodes: Iterable[Node]) -> dict[str, float]:
    """Each zone's share of the CPUs of ready nodes; empty when a node does not tell, or all are in one zone."""
    by_zone: Counter[str] = Counter()
    for node in nodes:
        if any(label in node.metadata.labels for label in EXCLUDED) or not node.is_ready:
            continue
        zone = node.metadata.labels.get(ZONE, "")
        millicores = int(parse_quantity(node.status.allocatable.get("cpu", "0")) * 1000)
        if not zone or not millicores:
            return {}
        by_zone[zone] += millicores
    total = by_zone.total()
    return {zone: cpu / total for zone, cpu in by_zone.items()} if len(by_zone) > 1 else {}


def shares(ratios: Mapping[str, float], endpoints: int) -> dict[str, Share]:
    """How many of so many endpoints each zone should have. Raises Impossible."""
    if not ratios:
        raise Impossible(FEW_FACTS)
    counts = f"({endpoints} endpoints, {len(ratios)} zones)"
    if len(ratios) > endpoints:
        raise Impossible(f"{FEW_ENDPOINTS} {counts}")
    least = {zone: math.ceil(ratio * endpoints / (1 + OVERLOAD)) for zone, ratio in ratios.items()}
    spare = endpoints - sum(least.values())
    if spare < 0:
        raise Impossible(f"{OVERLOADED} {counts}")
    return {
        zone: Share(max(ratio * endpoints, float(least[zone])), least[zone] + spare) for zone, ratio in ratios.items()
    }


def plan_hints(endpoints: Sequence[Placed], ratios: Mapping[str, float]) -> dict[str, str]:
    """The zone of each ready endpoint's hint, by uid; what was hinted well before stays. Raises Impossible."""
    wanted = shares(ratios, len(endpoints))
    if not all(each.zone for each in endpoints):
        raise Impossible(NO_ZONE)
    hints: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for each in sorted(endpoints, key=lambda each: (not each.before, each.uid)):
        keeps = each.before in wanted and counts[each.before] < wanted[each.before].maximum
        hints[each.uid] = each.before if keeps else each.zone
        counts[hints[each.uid]] += 1
    givers, takers = _moves(wanted, counts)
    # The endpoints that are hinted for the first time change hands first.
    for each in sorted(endpoints, key=lambda each: (bool(each.before), each.uid)):
        taker = next((zone for zone in sorted(takers) if takers[zone] > 0), "")
        if not taker:
            break
        giver = hints[each.uid]
        if givers[giver] > 0:
            hints[each.uid] = taker
            givers[giver] -= 1
            takers[taker] -= 1
    return hints


def _moves(wanted: Mapping[str, Share], counts: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """How many endpoints each zone gives away, and how many each takes."""
    over = {zone: counts[zone] - share.desired for zone, share in wanted.items()}
    givers, takers = Counter[str](), Counter[str]()
    while over:
        giver = max(sorted(over), key=over.__getitem__)
        taker = min(sorted(over), key=over.__getitem__)
        much, little = over[giver], -over[taker]
        # Half an endpoint is not worth a move, nor is less than one on both sides.
        if much < 0.5 or little < 0.5 or (much < 1 and little < 1):
            break
        givers[giver] += 1
        over[giver] -= 1
        takers[taker] += 1
        over[taker] += 1
    return givers, takers


def is_overloaded(hinted: Mapping[str, int], ratios: Mapping[str, float]) -> bool:
    """A zone has too few of the endpoints for its share. Source: upstream serviceOverloaded."""
    if not hinted:
        return False
    total = sum(hinted.values())
    return not ratios or any(
        hinted.get(zone, 0) < math.ceil(total * ratio / (1 + OVERLOAD)) for zone, ratio in ratios.items()
    )
