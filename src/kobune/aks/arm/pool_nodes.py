"""What a pool tells of its nodes beside AKS's fields: what they keep back and leave to pods, and which run no containers."""

from kobune.aks.arm.fleet import View
from kobune.aks.reservations import NodeOs, reservations
from kobune.aks.vm_sizes import get_vm_size
from kobune.api.errors import Invalid, Json


def pool_reservations(pool: Json, version: str) -> Json:
    """What a node of the pool keeps back and leaves to pods, line by line."""
    try:
        size = get_vm_size(pool["vmSize"])
    except Invalid:
        return {}
    os = NodeOs(pool["osType"])
    return reservations(
        size, kubernetes_version=version, max_pods=pool["maxPods"], os=os, os_disk_gib=pool["osDiskSizeGB"]
    ).as_json()


def node_runtimes(pool: Json, view: View) -> Json:
    """How many nodes of the pool run containers, and how many are simulated."""
    simulated = [machine.simulated for machine in view.nodes if machine.pool == pool["name"]]
    return {"real": simulated.count(False), "simulated": simulated.count(True)}


def shortage(pool: Json, view: View) -> str:
    """What to tell of a pool whose nodes were all to run containers; empty: they do."""
    found = node_runtimes(pool, view)
    real, simulated = found["real"], found["simulated"]
    if not simulated:
        return ""
    return (
        f"{simulated} of the {real + simulated} nodes of agent pool {pool['name']} are simulated and run no containers: "
        "this machine carries no more real ones."
    )
