"""Microsoft.Compute as far as clients look: VM SKUs, sizes, usages."""

import re

from kobune.aks.arm.locations import LOCATIONS, check_location
from kobune.aks.arm.quotas import usages
from kobune.aks.arm.request import ArmAnswer, ArmRequest, normal_location
from kobune.aks.arm.rules import ZONES
from kobune.aks.arm.service import ArmService
from kobune.aks.vm_sizes import VM_SIZES, VmSize
from kobune.api.errors import Json

OS_DISK_MIB = 1_047_552  # The largest OS disk; the same for all sizes.


def list_skus(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """az filters by location itself; others send `$filter=location eq '…'`, and get the answer an order smaller."""
    wanted = re.search(r"location eq '([^']*)'", request.query.get("$filter", ""), re.IGNORECASE)
    names = [normal_location(wanted[1])] if wanted else list(LOCATIONS)
    # One entry for each size and location, as the real service has it.
    return ArmAnswer(200, {"value": [_sku(size, name) for name in names for size in VM_SIZES.values()]})


def list_sizes(service: ArmService, request: ArmRequest) -> ArmAnswer:
    check_location(normal_location(request.parameters["location"]), "locations/vmSizes")
    return ArmAnswer(
        200,
        {
            "value": [
                {
                    "name": size.name,
                    "numberOfCores": size.cores,
                    "memoryInMB": size.memory_mib,
                    "maxDataDiskCount": size.data_disks,
                    "osDiskSizeInMB": OS_DISK_MIB,
                    "resourceDiskSizeInMB": size.temp_gib * 1024,
                }
                for size in VM_SIZES.values()
            ]
        },
    )


def list_usages(service: ArmService, request: ArmRequest) -> ArmAnswer:
    location = normal_location(request.parameters["location"])
    check_location(location, "locations/usages")
    return ArmAnswer(200, {"value": usages(service, location)})


def _sku(size: VmSize, location: str) -> Json:
    capabilities = {
        "vCPUs": size.cores,
        "MemoryGB": f"{size.memory_gib:g}",
        "MaxDataDiskCount": size.data_disks,
        "MaxResourceVolumeMB": size.temp_gib * 1024,
        "PremiumIO": "s" in size.name.rpartition("_v")[0].lower().removeprefix("standard_")[1:],
        "CpuArchitectureType": "Arm64" if size.arch == "arm64" else "x64",
        "HyperVGenerations": "V2" if size.arch == "arm64" else "V1,V2",
        "GPUs": size.gpus,
        "EphemeralOSDiskSupported": size.temp_gib >= 30,
        "AcceleratedNetworkingEnabled": size.cores >= 2,
    }
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "size": size.name.removeprefix("Standard_"),
        "family": size.family,
        "locations": [location],
        "locationInfo": [{"location": location, "zones": list(ZONES), "zoneDetails": []}],
        "capabilities": [{"name": name, "value": str(value)} for name, value in capabilities.items()],
        "restrictions": [],
    }
