"""The scale sets behind agent pools, as Microsoft.Compute shows them in a cluster's node resource group. They change with
their pools alone; but spot machines can be taken back, as Azure does when it needs the capacity.

Source: REST reference of virtual machine scale sets and their VMs, api-version 2023-09-01.
"""

from dataclasses import dataclass

from kobune.aks.arm.errors import ArmError, not_allowed
from kobune.aks.arm.fleet import Machine, View
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.runtimes import machine_tags
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource
from kobune.api.errors import Json

SCALE_SETS = "Microsoft.Compute/virtualMachineScaleSets"


@dataclass(frozen=True, slots=True)
class _ScaleSet:
    cluster: Resource
    pool: Json
    view: View

    @property
    def name(self) -> str:
        return f"aks-{self.pool['name']}-{self.view.cluster.suffix}-vmss"

    @property
    def machines(self) -> list[Machine]:
        return [machine for machine in self.view.nodes if machine.pool == self.pool["name"]]

    @property
    def is_spot(self) -> bool:
        return bool(self.pool["scaleSetPriority"] == "Spot")


def list_sets(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, {"value": [_shown(service, found) for found in _scale_sets(service, request)]})


def shown_sets(service: ArmService, cluster: Resource) -> list[Json]:
    """The scale sets of a cluster."""
    return [_shown(service, found) for found in _of(service, cluster)]


def get_set(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, _shown(service, _find(service, request)))


def list_machines(service: ArmService, request: ArmRequest) -> ArmAnswer:
    found = _find(service, request)
    shown = [_machine_shown(service, found, machine) for machine in found.machines]
    return ArmAnswer(200, {"value": shown})


def get_machine(service: ArmService, request: ArmRequest) -> ArmAnswer:
    found = _find(service, request)
    return ArmAnswer(200, _machine_shown(service, found, _machine(found, request)))


def simulate_eviction(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Take a spot machine back, pods and all; the pool gets another one: there is always capacity again."""
    found = _find(service, request)
    machine = _machine(found, request)
    if not found.is_spot:
        raise not_allowed(
            f"The operation 'SimulateEviction' is not allowed: the machine '{machine.name}' is no Spot machine.",
            status=409,
        )
    service.fleet.evict(found.cluster.place, machine.name)
    return ArmAnswer(204)


def _scale_sets(service: ArmService, request: ArmRequest) -> list[_ScaleSet]:
    group = request.parameters["group"]
    cluster = service.find_node_group_owner(group)
    if cluster is None:
        service.get_group(group)
        return []
    return _of(service, cluster)


def _of(service: ArmService, cluster: Resource) -> list[_ScaleSet]:
    view = service.look(cluster)
    pools = cluster.document["properties"]["agentPoolProfiles"]
    return [_ScaleSet(cluster, pool, view) for pool in pools] if view is not None else []


def _find(service: ArmService, request: ArmRequest) -> _ScaleSet:
    wanted = request.parameters["scaleSet"]
    for found in _scale_sets(service, request):
        if found.name.lower() == wanted.lower():
            return found
    raise _missing(f"{SCALE_SETS}/{wanted}", request)


def _machine(found: _ScaleSet, request: ArmRequest) -> Machine:
    wanted = request.parameters["instance"]
    for machine in found.machines:
        if str(machine.number) == wanted:
            return machine
    raise _missing(f"{SCALE_SETS}/{found.name}/virtualMachines/{wanted}", request)


def _missing(what: str, request: ArmRequest) -> ArmError:
    where = f"under resource group '{request.parameters['group']}'"
    return ArmError(404, "ResourceNotFound", f"The Resource '{what}' {where} was not found.")


def _shown(service: ArmService, found: _ScaleSet) -> Json:
    pool = found.pool
    spot = {
        "evictionPolicy": pool.get("scaleSetEvictionPolicy"),
        "billingProfile": {"maxPrice": pool.get("spotMaxPrice")},
    }
    return {
        "id": _id(service, found),
        "name": found.name,
        "type": SCALE_SETS,
        "location": found.cluster.document["location"],
        "zones": [str(zone) for zone in pool.get("availabilityZones") or ()],
        "tags": {**(pool.get("tags") or {}), "aks-managed-poolName": pool["name"]},
        "sku": {"name": pool["vmSize"], "tier": "Standard", "capacity": len(found.machines)},
        "properties": {
            "provisioningState": "Succeeded",
            "orchestrationMode": "Uniform",
            "singlePlacementGroup": False,
            "virtualMachineProfile": {
                "priority": pool["scaleSetPriority"],
                **(spot if found.is_spot else {}),
                "osProfile": {"computerNamePrefix": found.name},
                "storageProfile": {"osDisk": {"osType": pool["osType"], "diskSizeGB": pool["osDiskSizeGB"]}},
            },
        },
    }


def _machine_shown(service: ArmService, found: _ScaleSet, machine: Machine) -> Json:
    return {
        "id": f"{_id(service, found)}/virtualMachines/{machine.number}",
        "name": f"{found.name}_{machine.number}",
        "type": f"{SCALE_SETS}/virtualMachines",
        "location": found.cluster.document["location"],
        "instanceId": str(machine.number),
        "zones": [machine.zone] if machine.zone else [],
        "sku": {"name": machine.vm_size, "tier": "Standard"},
        "tags": machine_tags(found.pool, machine),
        "properties": {
            "provisioningState": "Succeeded" if machine.state == "Running" else machine.state,
            "latestModelApplied": True,
            "osProfile": {"computerName": machine.name},
        },
    }


def _id(service: ArmService, found: _ScaleSet) -> str:
    group = found.cluster.document["properties"]["nodeResourceGroup"]
    return f"{service.group_id(group)}/providers/{SCALE_SETS}/{found.name}"
