"""Node pools that do not exist, as the scheduler's plans and explanations take them: from VM sizes, with AKS's reservations."""

from dataclasses import replace

import msgspec

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.nodes import allocatable, capacity, node_shapes
from kobune.aks.versions import resolve_version
from kobune.aks.vm_sizes import VM_SIZES
from kobune.api.objects.core import Node
from kobune.controlplane.scheduler.why import Pool


def pool_like(pool: NodePool, *, kubernetes_version: str) -> Pool:
    """What new nodes of a pool would be like: labels, taints, capacity and what is left of it for pods.

    Args:
        kubernetes_version: "1.36" or full; the reservations depend on it.
    Raises:
        Invalid: an unknown version or VM size.
    """
    version = resolve_version(kubernetes_version)
    one = replace(pool, count=1)
    shape = node_shapes(Cluster("plan", version, (one,)))[0]
    node = {
        "metadata": {"name": pool.name, "labels": shape.labels},
        "spec": {"taints": list(shape.taints)},
        "status": {"capacity": capacity(shape.reservations), "allocatable": allocatable(shape.reservations)},
    }
    limit = pool.max_count if pool.autoscaling else None
    return Pool(pool.name, msgspec.convert(node, Node), pool.count, limit)


def sizes_on_offer(*, kubernetes_version: str, max_pods: int) -> tuple[Pool, ...]:
    """Every VM size as a pool of that name, the smallest first."""
    sizes = sorted(VM_SIZES.values(), key=lambda size: (size.cores, size.memory_gib, size.name))
    return tuple(
        pool_like(NodePool(size.name, 0, size.name, max_pods), kubernetes_version=kubernetes_version) for size in sizes
    )
