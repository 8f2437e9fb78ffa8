"""Which pools run real containers, and which have nodes that are played."""

from kobune.aks.arm.documents import KEPT, with_pools
from kobune.aks.arm.errors import bad_request
from kobune.aks.arm.service import CLUSTERS, ArmService
from kobune.aks.arm.translate import RUNTIME_TAG, SIMULATED
from kobune.aks.vm_sizes import get_vm_size
from kobune.api.errors import Invalid, Json


def choose_runtime(service: ArmService, document: Json) -> Json:
    """The document with each new pool's choice made: real nodes where the machine can carry them and nobody asked otherwise.

    Raises:
        ArmError: a pool with real nodes shall grow beyond what the machine carries.
    """
    room = service.fleet.most_real_nodes - _real_elsewhere(service, document)
    pools = []
    for pool in document["properties"]["agentPoolProfiles"]:
        kept = dict(pool[KEPT])
        most = max(pool["count"], pool.get("maxCount") or 0) if isinstance(pool["count"], int) else 0
        if "simulated" not in kept:
            kept["simulated"] = _asks_simulated(service, document, pool) or most > room
        elif not kept["simulated"] and most > room:
            raise bad_request(
                "AllocationFailed",
                f"Allocation failed. This machine carries {service.fleet.most_real_nodes} nodes that run containers, and agent "
                f"pool {pool['name']!r} would be too many. A new pool with the tag {RUNTIME_TAG}={SIMULATED} has room for "
                "thousands.",
            )
        if not kept["simulated"]:
            room -= most
        pools.append(pool | {KEPT: kept})
    return with_pools(document, pools)


def _asks_simulated(service: ArmService, document: Json, pool: Json) -> bool:
    tags = (document.get("tags") or {}) | (pool.get("tags") or {})
    if RUNTIME_TAG in tags:
        return str(tags[RUNTIME_TAG]).lower() == SIMULATED
    try:
        other_arch = get_vm_size(pool["vmSize"]).arch != "amd64"
    except Invalid:
        other_arch = False
    return service.simulated or pool["osType"] == "Windows" or other_arch


def _real_elsewhere(service: ArmService, document: Json) -> int:
    """Nodes with containers of the other clusters."""
    return sum(
        pool["count"]
        for cluster in service.store.list(CLUSTERS, service.scope)
        if cluster.document["id"].lower() != document["id"].lower()
        for pool in cluster.document["properties"]["agentPoolProfiles"]
        if not pool[KEPT].get("simulated")
    )
