"""What a pod is charged for. Source: upstream pkg/quota/v1/evaluator/core/pods.go."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from kobune.api.defaulting.pod_resources import aggregate
from kobune.api.errors import Json
from kobune.api.qos import qos_class
from kobune.api.quantity import parse_quantity
from kobune.api.quota.amounts import Amounts, plus
from kobune.api.quota.scopes import selects
from kobune.api.timestamps import parse_time

COMPUTE = ("cpu", "memory", "ephemeral-storage")
OWN = ("cpu", "memory")  # What a pod can ask for as a whole; huge pages too.
HUGE_PAGES = "hugepages-"
REQUESTS, LIMITS = "requests.", "limits."
POD_RESOURCES = frozenset(
    ("pods", "count/pods", *COMPUTE, *(f"{prefix}{name}" for prefix in (REQUESTS, LIMITS) for name in COMPUTE))
)
# Where a quota limits one of these, every container must say it.
REQUIRED = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
FINISHED = ("Succeeded", "Failed")


def is_pod_resource(name: str) -> bool:
    if name in POD_RESOURCES or name.startswith((HUGE_PAGES, REQUESTS + HUGE_PAGES)):
        return True
    return name.startswith(REQUESTS) and _is_extended(name)


def pod_usage(pod: Json, now: datetime) -> Amounts:
    """A finished pod, and one that should long be gone, is only counted."""
    count = {"count/pods": "1"}
    if (pod.get("status") or {}).get("phase") in FINISHED or _is_overdue(pod, now):
        return count
    spec = _with_granted(pod)
    return count | {"pods": "1"} | _named(requested(spec), _total(spec, "limits"))


def requested(spec: Json) -> Amounts:
    """All that a pod asks for: of its containers or as a whole, and its overhead."""
    return _total(spec, "requests")


def pod_in_scope(scope: Json, pod: Json) -> bool:
    spec = pod.get("spec") or {}
    match scope["scopeName"]:
        case "Terminating":
            return has_deadline(pod)
        case "NotTerminating":
            return not has_deadline(pod)
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return selects(scope, spec.get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return _looks_abroad(spec.get("affinity") or {})
    return False


def missing_resources(pod: Json, names: Iterable[str]) -> str:
    """`must specify cpu for: a,b; memory for: b`, or nothing."""
    spec, required = pod.get("spec") or {}, REQUIRED.intersection(names)
    own = spec.get("resources") or {}
    if not required or own.get("requests") or own.get("limits"):
        return ""
    missing: dict[str, list[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        said = _named(resources.get("requests") or {}, resources.get("limits") or {})
        for name in required.difference(said):
            missing.setdefault(name, []).append(container["name"])
    if not missing:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


def has_deadline(pod: Json) -> bool:
    return (pod.get("spec") or {}).get("activeDeadlineSeconds") is not None


def _named(requests: Amounts, limits: Amounts) -> dict[str, str]:
    """Under the names that quotas use."""
    usage: dict[str, str] = {}
    for name, amount in requests.items():
        if name in COMPUTE or name.startswith(HUGE_PAGES):
            usage[name] = usage[REQUESTS + name] = amount
        elif _is_extended(name):
            usage[REQUESTS + name] = amount
    usage |= {LIMITS + name: amount for name, amount in limits.items() if name in COMPUTE}
    return usage


def _total(spec: Json, field: str) -> Amounts:
    total: dict[str, str] = aggregate(spec, field)
    for name, amount in ((spec.get("resources") or {}).get(field) or {}).items():
        if name in OWN or name.startswith(HUGE_PAGES):
            total[name] = amount
    overhead = spec.get("overhead") or {}
    if field == "limits":
        overhead = {name: amount for name, amount in overhead.items() if name in total}
    return plus(total, overhead) if overhead else total


def _with_granted(pod: Json) -> Json:
    """The spec, where a container that is being resized has the greater of what it wants and what it has."""
    spec: Json = pod.get("spec") or {}
    status = pod.get("status") or {}
    granted: dict[str, list[Amounts]] = {}
    for one in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        actual = (one.get("resources") or {}).get("requests") or {}
        granted[one.get("name", "")] = [actual, one.get("allocatedResources") or {}]
    if not granted:
        return spec
    return spec | {
        field: [_greater(container, granted.get(container["name"], ())) for container in spec[field]]
        for field in ("containers", "initContainers")
        if spec.get(field)
    }


def _greater(container: Json, granted: Iterable[Amounts]) -> Json:
    resources = container.get("resources") or {}
    requests = dict(resources.get("requests") or {})
    for amounts in granted:
        for name, amount in amounts.items():
            if name not in requests or parse_quantity(amount) > parse_quantity(requests[name]):
                requests[name] = amount
    return {**container, "resources": {**resources, "requests": requests}}


def _is_extended(name: str) -> bool:
    """Source: upstream IsNativeResource, and the implicit names of device classes."""
    plain = name.removeprefix(REQUESTS)
    return plain.startswith("deviceclass.resource.kubernetes.io/") or ("/" in plain and "kubernetes.io/" not in plain)


def _is_overdue(pod: Json, now: datetime) -> bool:
    meta = pod["metadata"]
    deleted, grace = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    return bool(deleted) and grace is not None and now > parse_time(deleted) + timedelta(seconds=grace)


def _looks_abroad(affinity: Json) -> bool:
    terms: list[Json] = []
    for field in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(field) or {}
        terms += rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [one.get("podAffinityTerm") or {} for one in preferred]
    return any(one.get("namespaces") or one.get("namespaceSelector") is not None for one in terms)
