"""Which pools may run real containers, and which have nodes that are played.

Of the pools that may, the engine runs as many nodes as the machine carries; the rest it plays too, and the user is told.
"""

from collections.abc import Collection

from kobune.aks.arm.documents import KEPT, with_pools
from kobune.aks.arm.fleet import View
from kobune.aks.arm.translate import RUNTIME_TAG, SIMULATED
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
    """What to tell of these pools, whose nodes were to run containers, if some do not; empty: nothing."""
    told = []
    for pool in document["properties"]["agentPoolProfiles"]:
        nodes = [machine for machine in view.nodes if machine.pool == pool["name"]]
        played = sum(machine.simulated for machine in nodes)
        if pool["name"] in names and played and not pool[KEPT].get("simulated"):
            told.append(f"{played} of the {len(nodes)} nodes of agent pool {pool['name']}")
    if not told:
        return ""
    return f"{' and '.join(told)} are simulated and run no containers: this machine carries no more real ones."


def _is_simulated(document: Json, pool: Json, *, simulated: bool) -> bool:
    tags = (document.get("tags") or {}) | (pool.get("tags") or {})
    if RUNTIME_TAG in tags:
        return str(tags[RUNTIME_TAG]).lower() == SIMULATED
    try:
        other_machine = get_vm_size(pool["vmSize"]).arch != "amd64"
    except Invalid:
        other_machine = False
    return simulated or other_machine or pool["osType"] == "Windows"
