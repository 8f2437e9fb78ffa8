"""Plugin arguments from a profile's `pluginConfig`, with upstream's defaults for what is left out."""

from collections.abc import Sequence

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.core import NodeAffinity as NodeAffinityView
from kobune.api.objects.core import TopologySpreadConstraint
from kobune.api.timestamps import parse_duration
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import NodeTerm, WeightedTerm, compile_selector, compile_term
from kobune.controlplane.scheduler.plugins.pod_topology_spread import PodTopologySpread
from kobune.controlplane.scheduler.plugins.resource_strategies import (
    CPU_AND_MEMORY,
    ResourceWeight,
    Strategy,
    least_allocated,
    most_allocated,
    requested_to_capacity_ratio,
)
from kobune.controlplane.scheduler.pod_info import compile_spread


def added_affinity(args: Json) -> tuple[Sequence[NodeTerm] | None, Sequence[WeightedTerm]]:
    """NodeAffinity's `addedAffinity`: required terms (None: none are added) and preferred ones."""
    added = msgspec.convert(args.get("addedAffinity") or {}, NodeAffinityView)
    required = added.required_during_scheduling_ignored_during_execution
    preferred = added.preferred_during_scheduling_ignored_during_execution or ()
    return (
        None if required is None else compile_selector(required),
        [WeightedTerm(term.weight, compile_term(term.preference)) for term in preferred],
    )


def strategy(args: Json) -> Strategy:
    """NodeResourcesFit's `scoringStrategy`."""
    scoring = args.get("scoringStrategy") or {}
    match scoring.get("type", "LeastAllocated"):
        case "MostAllocated":
            return most_allocated
        case "RequestedToCapacityRatio":
            shape = scoring["requestedToCapacityRatio"]["shape"]
            return requested_to_capacity_ratio([(point["utilization"], point["score"]) for point in shape])
    return least_allocated


def resources(args: Json) -> Sequence[ResourceWeight]:
    """A list of resources with weights; a weight left out is 1."""
    listed = args.get("resources")
    if not listed:
        return CPU_AND_MEMORY
    return [ResourceWeight(resource["name"], resource.get("weight") or 1) for resource in listed]


def seconds(duration: str | None, default: float) -> float:
    """A duration as Go writes it."""
    return parse_duration(duration).total_seconds() if duration else default


def topology_spread(args: Json, listers: Listers) -> PodTopologySpread:
    """PodTopologySpread with the system's default constraints, or with the listed ones."""
    if args.get("defaultingType", "System") == "System":
        return PodTopologySpread(listers)
    listed = msgspec.convert(args.get("defaultConstraints") or [], list[TopologySpreadConstraint])
    return PodTopologySpread(listers, [compile_spread(one, {}) for one in listed], system_defaults=False)
