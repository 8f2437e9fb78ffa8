"""Dynamic resource allocation. The time of a device's taint, which upstream defaults to now, is the server's to fill."""

from collections.abc import Iterable

from kobune.api.errors import Json

POOL_STATUS_LIMIT = 100  # Source: upstream ResourcePoolStatusRequestLimitDefault.


def default_claim(claim: Json) -> None:
    _default_requests((claim.get("spec") or {}).get("devices"))
    allocation = (claim.get("status") or {}).get("allocation") or {}
    for result in (allocation.get("devices") or {}).get("results") or ():
        _default_tolerations(result.get("tolerations"))


def default_claim_template(template: Json) -> None:
    _default_requests(((template.get("spec") or {}).get("spec") or {}).get("devices"))


def default_slice(resource_slice: Json) -> None:
    for device in (resource_slice.get("spec") or {}).get("devices") or ():
        for mapping in (device.get("nodeAllocatableResourceMappings") or {}).values():
            mapping.setdefault("allocationMultiplier", "1")


def default_pool_status_request(request: Json) -> None:
    request.setdefault("spec", {}).setdefault("limit", POOL_STATUS_LIMIT)


def _default_requests(devices: Json | None) -> None:
    for request in (devices or {}).get("requests") or ():
        # In the first beta the request itself says what later stands under `exactly`.
        exact = request.get("exactly") or (request if "deviceClassName" in request else None)
        if exact is not None:
            _default_request(exact)
        for alternative in request.get("firstAvailable") or ():
            _default_request(alternative)


def _default_request(request: Json) -> None:
    if not request.get("allocationMode"):
        request["allocationMode"] = "ExactCount"
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1
    _default_tolerations(request.get("tolerations"))


def _default_tolerations(tolerations: Iterable[Json] | None) -> None:
    for toleration in tolerations or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"


DEFAULTS = {
    "ResourceClaim": default_claim,
    "ResourceClaimTemplate": default_claim_template,
    "ResourcePoolStatusRequest": default_pool_status_request,
    "ResourceSlice": default_slice,
}
