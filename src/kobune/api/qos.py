"""A pod's quality-of-service class."""

from collections.abc import Iterable

from kobune.api.errors import Json
from kobune.api.quantity import parse_quantity

COMPUTE = ("cpu", "memory")


def qos_class(spec: Json) -> str:
    """ "Guaranteed", "Burstable" or "BestEffort". Source: upstream ComputePodQOS."""
    own = (spec.get("resources") or {}) if "resources" in spec else {}
    if own.get("requests") or own.get("limits"):
        blocks: list[Json] = [own]
    else:
        blocks = [container.get("resources") or {} for container in _containers(spec)]
    requests: dict[str, float] = {}
    limits: dict[str, float] = {}
    guaranteed = True
    for block in blocks:
        for name, total in (("requests", requests), ("limits", limits)):
            for resource, amount in (block.get(name) or {}).items():
                value = parse_quantity(amount) if resource in COMPUTE else 0
                if value > 0:
                    total[resource] = total.get(resource, 0) + float(value)
        present = {resource for resource, amount in (block.get("limits") or {}).items() if parse_quantity(amount) > 0}
        guaranteed = guaranteed and present.issuperset(COMPUTE)
    if not requests and not limits:
        return "BestEffort"
    if guaranteed and requests == limits:
        return "Guaranteed"
    return "Burstable"


def _containers(spec: Json) -> Iterable[Json]:
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
