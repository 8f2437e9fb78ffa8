"""Which pools may run real containers, and which have nodes that are played.

Of the pools that may, the engine runs as many nodes as the machine carries; the rest it plays too, and the user is told.
"""

from collections.abc import Collection

from kobune.aks.arm.documents import KEPT, with_pools
from kobune.aks.arm.fleet import Machine, View
from kobune.aks.arm.pool_nodes import shortage
from kobune.aks.arm.translate import REAL, RUNTIME_TAG, SIMULATED
from kobune.aks.vm_sizes import get_vm_size
from kobune.api.errors import Invalid, Json


def choose_runtime(document: Json, *, simulated: bool) -> Json:
    """The document with the choice made for each new pool; it stays for the pool's life.

    Args:
        simulated: what holds for pools that say nothing by a tag of theirs or of their cluster.
    """
    pools = []
    for pool in document["properties"]["agentPoolProfiles"]:
        if "simulated" not in pool[KEPT]:
            pool = pool | {KEPT: pool[KEPT] | {"simulated": _is_simulated(document, pool, simulated=simulated)}}
        pools.append(pool)
    return with_pools(document, pools)


def simulation_warning(document: Json, view: View, names: Collection[str]) -> str:
    """What to tell of those of these pools that have simulated nodes in the place of real ones; empty: nothing."""
    pools = [pool for pool in document["properties"]["agentPoolProfiles"] if pool["name"] in names]
    told = [shortage(pool, view) for pool in pools if not pool[KEPT].get("simulated")]
    return " ".join(filter(None, told))


def machine_tags(pool: Json, machine: Machine) -> Json:
    """The pool's tags on one of its machines, with the one that tells what kind it is."""
    return (pool.get("tags") or {}) | {RUNTIME_TAG: SIMULATED if machine.simulated else REAL}


def _is_simulated(document: Json, pool: Json, *, simulated: bool) -> bool:
    tags = (document.get("tags") or {}) | (pool.get("tags") or {})
    if RUNTIME_TAG in tags:
        return str(tags[RUNTIME_TAG]).lower() == SIMULATED
    try:
        other_machine = get_vm_size(pool["vmSize"]).arch != "amd64"
    except Invalid:
        other_machine = False
    return simulated or other_machine or pool["osType"] == "Windows"
