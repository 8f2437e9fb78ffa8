"""Devices that are not ready as soon as they are allocated: the pod is bound once their conditions say that they are.

Source: Kubernetes documentation, Dynamic Resource Allocation, Device Binding Conditions; upstream isClaimReadyForBinding.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from kobune.api.errors import Json
from kobune.api.timestamps import parse_time
from kobune.controlplane.scheduler.device_results import results_of
from kobune.controlplane.scheduler.views import ResourceClaim

TIMEOUT_SECONDS = 600.0  # Source: upstream DynamicResourcesArgs, bindingTimeout.


def has_conditions(claim: ResourceClaim) -> bool:
    """Whether any of its devices has to be waited for."""
    return any(result.get("bindingConditions") for result in results_of(claim))


def is_ready(claim: ResourceClaim) -> bool:
    """Whether a pod that uses the claim may be bound as far as its devices are concerned."""
    if not claim.status.get("allocation"):
        return False
    return all(
        set(result["bindingConditions"]) <= _true(claim, result)
        for result in results_of(claim)
        if result.get("bindingConditions")
    )


def failure(claim: ResourceClaim) -> str:
    """Why one of its devices cannot be had after all; empty when none says so."""
    for result in results_of(claim):
        if not result.get("bindingConditions"):
            continue
        for condition in _conditions(claim, result):
            failed = condition["type"] in (result.get("bindingFailureConditions") or ())
            if failed and condition.get("status") == "True":
                reason, message = condition.get("reason", ""), condition.get("message", "")
                return f'device binding failed: claim={claim.name}, reason={reason}, message="{message}"'
    return ""


def is_late(claim: ResourceClaim, now: datetime, timeout_seconds: float) -> bool:
    """Whether its devices have had their time."""
    since = (claim.status.get("allocation") or {}).get("allocationTimestamp")
    return since is not None and has_conditions(claim) and parse_time(since) + timedelta(seconds=timeout_seconds) < now


def _true(claim: ResourceClaim, result: Json) -> set[str]:
    return {one["type"] for one in _conditions(claim, result) if one.get("status") == "True"}


def _conditions(claim: ResourceClaim, result: Json) -> Iterable[Json]:
    """What the driver says of an allocated device."""
    same = ("driver", "pool", "device", "shareID")
    for status in claim.status.get("devices") or ():
        if all(status.get(field) == result.get(field) for field in same):
            return status.get("conditions") or ()
    return ()
