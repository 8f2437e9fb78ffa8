"""Checks of plugin arguments, with upstream's messages. Source: upstream apis/config/validation."""

from collections.abc import Callable, Iterator, Sequence

from kobune.api.errors import FieldError, Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_supported, required
from kobune.api.names import is_qualified_name
from kobune.api.timestamps import parse_duration

STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
MAX_SHAPE_SCORE = 10

Errors = Iterator[FieldError]


def check_args(plugin: str, args: Json, path: str) -> Errors:
    """Every fault of a plugin's arguments; a plugin that takes none has none."""
    check = _CHECKS.get(plugin)
    if check is not None:
        yield from check(args, path)


def _default_preemption(args: Json, path: str) -> Errors:
    percentage = args.get("minCandidateNodesPercentage", 10)
    absolute = args.get("minCandidateNodesAbsolute", 100)
    at_percentage, at_absolute = f"{path}.minCandidateNodesPercentage", f"{path}.minCandidateNodesAbsolute"
    if not 0 <= percentage <= 100:
        yield invalid(at_percentage, percentage, "not in valid range [0, 100]")
    if absolute < 0:
        yield invalid(at_absolute, absolute, "not in valid range [0, inf)")
    if percentage == 0 and absolute == 0:
        both = "cannot be zero at the same time as"
        yield invalid(at_percentage, 0, f"{both} minCandidateNodesAbsolute")
        yield invalid(at_absolute, 0, f"{both} minCandidateNodesPercentage")


def _inter_pod_affinity(args: Json, path: str) -> Errors:
    weight = args.get("hardPodAffinityWeight", 1)
    if not 0 <= weight <= 100:
        yield invalid(f"{path}.hardPodAffinityWeight", weight, "not in valid range [0, 100]")


def _pod_topology_spread(args: Json, path: str) -> Errors:
    kind, constraints = args.get("defaultingType", "System"), args.get("defaultConstraints") or []
    if kind not in ("System", "List"):
        yield not_supported(f"{path}.defaultingType", kind, ("System", "List"))
    elif kind == "System" and constraints:
        yield invalid(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty")
    seen: list[tuple[str, str]] = []
    for index, constraint in enumerate(constraints):
        where = f"{path}.defaultConstraints[{index}]"
        yield from _default_constraint(constraint, where)
        pair = (constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", ""))
        if pair in seen:
            yield duplicate(where, f"{{{pair[0]}, {pair[1]}}}")
        seen.append(pair)


def _default_constraint(constraint: Json, path: str) -> Errors:
    if constraint.get("maxSkew", 0) <= 0:
        yield invalid(f"{path}.maxSkew", constraint.get("maxSkew", 0), "not in valid range (0, inf)")
    key = constraint.get("topologyKey", "")
    if not key:
        yield required(f"{path}.topologyKey", "can not be empty")
    else:
        yield from _label_name(key, f"{path}.topologyKey")
    when = constraint.get("whenUnsatisfiable", "")
    if not when:
        yield required(f"{path}.whenUnsatisfiable", "can not be empty")
    elif when not in ("DoNotSchedule", "ScheduleAnyway"):
        yield not_supported(f"{path}.whenUnsatisfiable", when, ("DoNotSchedule", "ScheduleAnyway"))
    if constraint.get("labelSelector") is not None:
        detail = "constraint must not define a selector, as they deduced for each pod"
        yield forbidden(f"{path}.labelSelector", detail)


def _label_name(name: str, path: str) -> Errors:
    for problem in is_qualified_name(name):
        yield invalid(path, name, problem)


def _balanced_allocation(args: Json, path: str) -> Errors:
    seen = set()
    for index, resource in enumerate(args.get("resources") or ()):
        where = f"{path}.resources[{index}]"
        if resource.get("name") in seen:
            yield duplicate(f"{where}.name", resource.get("name"))
        seen.add(resource.get("name"))
        weight = resource.get("weight") or 1
        if weight != 1:
            yield invalid(f"{where}.weight", weight, "must be 1")


def _dynamic_resources(args: Json, path: str) -> Errors:
    for field, least, detail in (
        ("filterTimeout", 0, "must be zero or positive"),
        ("bindingTimeout", 1, "must be at least 1 second"),
    ):
        duration = args.get(field)
        if duration is not None and parse_duration(duration).total_seconds() < least:
            yield invalid(f"{path}.{field}", duration, detail)


def _volume_binding(args: Json, path: str) -> Errors:
    seconds = args.get("bindTimeoutSeconds", 600)
    if seconds < 0:
        detail = "invalid BindTimeoutSeconds, should not be a negative value"
        yield invalid(f"{path}.bindTimeoutSeconds", seconds, detail)
    if args.get("shape") is not None:
        detail = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        yield invalid(f"{path}.shape", args["shape"], detail)


def _node_resources_fit(args: Json, path: str) -> Errors:
    for index, resource in enumerate(args.get("ignoredResources") or ()):
        yield from _label_name(resource, f"{path}.ignoredResources[{index}]")
    for index, group in enumerate(args.get("ignoredResourceGroups") or ()):
        where = f"{path}.ignoredResourceGroups[{index}]"
        if "/" in group:
            yield invalid(where, group, "resource group name can't contain '/'")
        yield from _label_name(group, where)
    scoring = args.get("scoringStrategy")
    if scoring is None:
        return
    where, kind = f"{path}.scoringStrategy", scoring.get("type", "")
    if kind not in STRATEGIES:
        yield not_supported(f"{where}.type", kind, STRATEGIES)
    for index, resource in enumerate(scoring.get("resources") or ()):
        weight = resource.get("weight") or 1
        if not 0 < weight <= 100:
            detail = f"resource weight of {resource.get('name')} not in valid range (0, 100]"
            yield invalid(f"{where}.resources[{index}].weight", weight, detail)
    ratio = scoring.get("requestedToCapacityRatio")
    at_ratio = f"{where}.requestedToCapacityRatio"
    if kind == "RequestedToCapacityRatio":
        if ratio is None:
            yield required(at_ratio, "must be specified when type is RequestedToCapacityRatio")
        else:
            yield from _shape(ratio.get("shape") or [], f"{at_ratio}.shape")
    elif ratio is not None:
        yield forbidden(at_ratio, "must be nil when type is not RequestedToCapacityRatio")


def _shape(points: Sequence[Json], path: str) -> Errors:
    if not points:
        yield required(path, "at least one point must be specified")
        return
    utilizations = [point.get("utilization", 0) for point in points]
    for index in range(1, len(points)):
        if utilizations[index - 1] >= utilizations[index]:
            where = f"{path}[{index}].utilization"
            yield invalid(where, utilizations[index], "values must be sorted in increasing order")
            break
    for index, point in enumerate(points):
        if not 0 <= utilizations[index] <= 100:
            yield invalid(f"{path}[{index}].utilization", utilizations[index], "not in valid range [0, 100]")
        score = point.get("score", 0)
        if not 0 <= score <= MAX_SHAPE_SCORE:
            yield invalid(f"{path}[{index}].score", score, f"not in valid range [0, {MAX_SHAPE_SCORE}]")


_CHECKS: dict[str, Callable[[Json, str], Errors]] = {
    "DefaultPreemption": _default_preemption,
    "DynamicResources": _dynamic_resources,
    "InterPodAffinity": _inter_pod_affinity,
    "NodeResourcesBalancedAllocation": _balanced_allocation,
    "NodeResourcesFit": _node_resources_fit,
    "PodTopologySpread": _pod_topology_spread,
    "VolumeBinding": _volume_binding,
}
