"""What claims have been given: read off their status, and written as `status.allocation`. Pure.

Source: Kubernetes documentation, Dynamic Resource Allocation; upstream dynamic-resource-allocation/structured.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from kobune.api.errors import Json
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.controlplane.scheduler.device_capacity import Shares, as_quantity, share_text
from kobune.controlplane.scheduler.devices import Device, DeviceId, Grant
from kobune.controlplane.scheduler.views import DeviceClass, ResourceClaim


def allocated(claims: Iterable[ResourceClaim]) -> set[DeviceId]:
    """The devices that claims have for themselves; administrative access takes none."""
    return {
        DeviceId(result["driver"], result["pool"], result["device"])
        for claim in claims
        for result in results_of(claim)
        if not result.get("adminAccess") and not result.get("shareID")
    }


def shared(claims: Iterable[ResourceClaim]) -> dict[DeviceId, list[Shares]]:
    """What claims have of devices that are shared."""
    found: dict[DeviceId, list[Shares]] = {}
    for claim in claims:
        for result in results_of(claim):
            if result.get("shareID") and not result.get("adminAccess"):
                consumed = {name: as_quantity(value) for name, value in (result.get("consumedCapacity") or {}).items()}
                device = DeviceId(result["driver"], result["pool"], result["device"])
                found.setdefault(device, []).append(consumed)
    return found


def results_of(claim: ResourceClaim) -> Sequence[Json]:
    """The devices of the claim's allocation, as it says them."""
    return ((claim.status.get("allocation") or {}).get("devices") or {}).get("results") or ()


def allocation(
    claim: ResourceClaim, grants: Sequence[Grant], node_name: str, classes: Mapping[Key, DeviceClass], now: datetime
) -> Json:
    """The claim's `status.allocation` for these grants."""
    results = [
        {
            "request": grant.request.name, "driver": grant.device.id.driver, "pool": grant.device.id.pool,
            "device": grant.device.id.name, **({"adminAccess": True} if grant.request.admin else {}),
            **({"tolerations": list(grant.request.tolerations)} if grant.request.tolerations else {}),
            **_conditions(grant.device),
            **(_share(claim, number, grant.shares) if grant.shares is not None else {}),
        }
        for number, grant in enumerate(grants)
    ]  # fmt: skip
    config = []
    for grant in {grant.request.name: grant for grant in grants}.values():
        for one in (classes[Key("", grant.request.class_name)].spec.get("config")) or ():
            config.append({"source": "FromClass", "requests": [grant.request.name], **one})
    for one in (claim.spec.get("devices") or {}).get("config") or ():
        config.append({"source": "FromClaim", **one})
    devices: Json = {"results": results} | ({"config": config} if config else {})
    selector = _node_selector(grants, node_name)
    found = {"devices": devices, "allocationTimestamp": format_time(now)}
    return found | ({"nodeSelector": selector} if selector else {})


def _conditions(device: Device) -> Json:
    found = {
        "bindingConditions": list(device.binding_conditions),
        "bindingFailureConditions": list(device.failure_conditions),
    }
    return {name: names for name, names in found.items() if names}


def _share(claim: ResourceClaim, number: int, shares: Shares) -> Json:
    """A share's name, which no other share has, and its size."""
    share_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{claim.metadata.uid}/{claim.metadata.resource_version}/{number}")
    return {
        "shareID": str(share_id),
        "consumedCapacity": {name: share_text(amount) for name, amount in shares.items()},
    }


def _node_selector(grants: Sequence[Grant], node_name: str) -> Json | None:
    """Where the allocation can be used: on the node, if any device is of one node; else where the devices' slices say."""
    if any(grant.device.node_name or grant.device.binds_to_node for grant in grants):
        named = {"key": "metadata.name", "operator": "In", "values": [node_name]}
        return {"nodeSelectorTerms": [{"matchFields": [named]}]}
    fields: list[Json] = []
    labels: list[Json] = []
    for grant in grants:
        for term in ((grant.device.selector or {}).get("nodeSelectorTerms") or ())[:1]:
            fields += [one for one in term.get("matchFields") or () if one not in fields]
            labels += [one for one in term.get("matchExpressions") or () if one not in labels]
    parts = {"matchFields": fields, "matchExpressions": labels}
    return {"nodeSelectorTerms": [{name: part for name, part in parts.items() if part}]} if fields or labels else None
