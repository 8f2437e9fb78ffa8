"""Pod-level resources: what the pod as a whole requests when only a part is said.

Source: upstream defaultHugePagePodLimits and defaultPodRequests; component-helpers resource.AggregateContainerRequests.
"""

from kobune.api.errors import Json
from kobune.api.quantity import Number, canonical, format_binary, format_decimal, parse_quantity

HUGE_PAGES = "hugepages-"
SUPPORTED = ("cpu", "memory")  # And huge pages.


def default_pod_level(spec: Json) -> None:
    """Fill in `spec["resources"]`, which is there and not empty. What cannot be read is left to validation."""
    try:
        _default_huge_limits(spec, spec["resources"])
        _default_requests(spec, spec["resources"])
    except (ValueError, TypeError):
        return


def aggregate(spec: Json, which: str) -> dict[str, str]:
    """The effective "requests" or "limits" of the containers: their sum, or the highest need while initializing."""
    total: dict[str, Number] = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts(container, which))
    sidecars: dict[str, Number] = {}
    peak: dict[str, Number] = {}
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, which)
        if container.get("restartPolicy") == "Always":
            # A sidecar runs on, beside all that follows.
            _add(total, amounts)
            _add(sidecars, amounts)
            need = dict(sidecars)
        else:
            need = dict(sidecars)
            _add(need, amounts)
        for name, amount in need.items():
            peak[name] = max(peak.get(name, 0), amount)
    for name, amount in peak.items():
        total[name] = max(total.get(name, 0), amount)
    return {name: _written(name, amount) for name, amount in total.items()}


def _default_huge_limits(spec: Json, resources: Json) -> None:
    limits = dict(resources.get("limits") or {})
    requests = resources.get("requests") or {}
    if not limits and not requests:
        return
    for name, amount in aggregate(spec, "limits").items():
        if name.startswith(HUGE_PAGES) and name not in requests and name not in limits:
            limits[name] = amount
    if limits:
        resources["limits"] = limits


def _default_requests(spec: Json, resources: Json) -> None:
    limits = resources.get("limits")
    if not limits:
        return
    requests = dict(resources.get("requests") or {})
    for name, amount in aggregate(spec, "requests").items():
        if name in SUPPORTED and name not in requests:
            requests[name] = amount
    for name, amount in limits.items():
        if (name in SUPPORTED or name.startswith(HUGE_PAGES)) and name not in requests:
            requests[name] = amount
    if requests:
        resources["requests"] = requests


def _amounts(container: Json, which: str) -> dict[str, Number]:
    amounts = (container.get("resources") or {}).get(which) or {}
    return {name: parse_quantity(amount) for name, amount in amounts.items()}


def _add(total: dict[str, Number], amounts: dict[str, Number]) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + amount


def _written(name: str, amount: Number) -> str:
    return canonical(format_decimal(amount) if name == "cpu" else format_binary(amount))
