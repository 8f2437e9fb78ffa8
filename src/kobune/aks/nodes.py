"""What a node of a pool looks like: its name, labels, taints, machine identity, capacity and allocatable."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.instances import Instance, first_instances, pool_labels, pool_taints
from kobune.aks.reservations import Reservations, annotation, minor_of, reservations
from kobune.aks.versions import get_version
from kobune.aks.vm_sizes import get_vm_size
from kobune.api.errors import Json

FIRST_HOST = 4  # Azure keeps the first addresses of a subnet.


RESERVATIONS = "kobune.io/reservations"  # Annotation: capacity, what is kept of it, what is left, line by line.


@dataclass(frozen=True, slots=True)
class NodeShape:
    """Everything about one node that follows from its cluster, pool and number."""

    name: str
    pool: NodePool
    number: int  # In its pool, from 0.
    index: int  # In its cluster, from 0; addresses follow from it.
    address: str
    pod_cidr: str
    provider_id: str
    kubernetes_version: str
    labels: dict[str, str]
    annotations: dict[str, str]
    taints: tuple[Json, ...]
    reservations: Reservations
    simulated: bool


def node_shapes(
    cluster: Cluster, *, node_cidr: str = "10.224.0.0/16", pod_cidr: str = "10.244.0.0/16"
) -> list[NodeShape]:
    """The nodes of a new cluster, in order; the ranges are as `node_shape` takes them."""
    pools = {pool.name: pool for pool in cluster.pools}
    return [
        node_shape(cluster, pools[machine.pool], machine, node_cidr=node_cidr, pod_cidr=pod_cidr)
        for machine in first_instances(cluster)
    ]


def node_shape(cluster: Cluster, pool: NodePool, machine: Instance, *, node_cidr: str, pod_cidr: str) -> NodeShape:
    """The node that a machine of a pool is.

    Args:
        node_cidr: the subnet of the nodes' own addresses; `pod_cidr`: the range each node gets a /24 of.
            Clusters of more than 256 nodes take their pod ranges on from there, /24 by /24.
    """
    address = str(_network(node_cidr)[machine.index + FIRST_HOST])
    pods = _network(pod_cidr).network_address + machine.index * 256
    version, scale_set = machine.kubernetes_version, f"aks-{pool.name}-{cluster.suffix}-vmss"
    kept = reservations(
        get_vm_size(machine.vm_size),
        kubernetes_version=version,
        max_pods=pool.max_pods,
        os=pool.os,
        os_disk_gib=pool.os_disk_gib,
    )
    return NodeShape(
        name=machine.name,
        pool=pool,
        number=machine.number,
        index=machine.index,
        address=address,
        pod_cidr=f"{pods}/24",
        provider_id=(
            f"azure:///subscriptions/{cluster.subscription}/resourceGroups/{cluster.node_resource_group.lower()}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{scale_set}/virtualMachines/{machine.number}"
        ),
        kubernetes_version=version,
        labels=_labels(cluster, pool, machine),
        annotations={
            "node.alpha.kubernetes.io/ttl": "0",
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            "alpha.kubernetes.io/provided-node-ip": address,
            RESERVATIONS: annotation(kept),
        },
        taints=tuple(parse_taint(text) for text in pool_taints(pool)),
        reservations=kept,
        simulated=machine.simulated,
    )


@lru_cache
def _network(cidr: str) -> IPv4Network:
    return IPv4Network(cidr)


def capacity(kept: Reservations) -> dict[str, str]:
    """`status.capacity` as a kubelet on such a node reports it."""
    return {
        "cpu": str(kept.vm_size.cores),
        "ephemeral-storage": f"{kept.storage_capacity_ki}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{kept.memory_capacity_ki}Ki",
        "pods": str(kept.max_pods),
    }


def allocatable(kept: Reservations) -> dict[str, str]:
    """`status.allocatable`: what pods may request."""
    return capacity(kept) | {
        "cpu": f"{kept.cpu_allocatable_millicores}m",
        "ephemeral-storage": str(kept.storage_allocatable_bytes),
        "memory": f"{kept.memory_allocatable_ki}Ki",
    }


def _labels(cluster: Cluster, pool: NodePool, machine: Instance) -> dict[str, str]:
    """The labels AKS and the cloud provider put on a node. Source: AKS's page on labels, and real nodes."""
    size, release = get_vm_size(machine.vm_size), get_version(machine.kubernetes_version)
    zone = f"{cluster.location}-{machine.zone}" if machine.zone else "0"
    os_name = pool.os.value.lower()
    labels = {
        "agentpool": pool.name,
        "beta.kubernetes.io/arch": size.arch,
        "beta.kubernetes.io/instance-type": size.name,
        "beta.kubernetes.io/os": os_name,
        "failure-domain.beta.kubernetes.io/region": cluster.location,
        "failure-domain.beta.kubernetes.io/zone": zone,
        "kubernetes.azure.com/agentpool": pool.name,
        "kubernetes.azure.com/azure-cni-overlay": "true",
        "kubernetes.azure.com/cluster": cluster.node_resource_group[:63],
        "kubernetes.azure.com/network-policy": cluster.network_policy,
        "kubernetes.azure.com/node-image-version": machine.image_version,
        "kubernetes.azure.com/nodepool-type": "VirtualMachineScaleSets",
        "kubernetes.azure.com/os-sku": pool.os_sku,
        "kubernetes.azure.com/os-sku-effective": release.os_sku if pool.os_sku == "Ubuntu" else pool.os_sku,
        "kubernetes.azure.com/os-sku-requested": pool.os_sku,
        "kubernetes.azure.com/podnetwork-type": "overlay",
        "kubernetes.azure.com/role": "agent",
        "kubernetes.azure.com/sku-cpu": str(size.cores),
        "kubernetes.azure.com/sku-memory": str(size.memory_mib),
        "kubernetes.azure.com/storageprofile": "managed",
        "kubernetes.azure.com/storagetier": "Premium_LRS",
        "kubernetes.io/arch": size.arch,
        "kubernetes.io/hostname": machine.name,
        "kubernetes.io/os": os_name,
        "node.kubernetes.io/instance-type": size.name,
        "storageprofile": "managed",
        "storagetier": "Premium_LRS",
        "topology.disk.csi.azure.com/zone": zone if machine.zone else "",
        "topology.kubernetes.io/region": cluster.location,
        "topology.kubernetes.io/zone": zone,
    }
    if minor_of(machine.kubernetes_version) <= 28:
        labels |= {"kubernetes.io/role": "agent", "node-role.kubernetes.io/agent": ""}
    if size.gpus:
        labels["accelerator"] = "nvidia"
    if pool.spot:
        labels["kubernetes.azure.com/scalesetpriority"] = "spot"
    return labels | pool_labels(pool)


def parse_taint(text: str) -> Json:
    """`key=value:Effect` or `key:Effect` as a taint."""
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    taint = {"key": key, "effect": effect}
    return taint | {"value": value} if value else taint
