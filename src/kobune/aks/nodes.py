"""What a node of a pool looks like: its name, labels, taints, machine identity, capacity and allocatable."""

from dataclasses import dataclass
from ipaddress import IPv4Network

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.reservations import NodeOs, Reservations, minor_of, reservations
from kobune.aks.versions import get_version
from kobune.aks.vm_sizes import get_vm_size
from kobune.api.errors import Json

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
FIRST_HOST = 4  # Azure keeps the first addresses of a subnet.


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


def node_shapes(
    cluster: Cluster, *, node_cidr: str = "10.224.0.0/16", pod_cidr: str = "10.244.0.0/16"
) -> list[NodeShape]:
    """The nodes that a cluster's pools ask for, in order.

    Args:
        node_cidr: the subnet of the nodes' own addresses; `pod_cidr`: the range each node gets a /24 of.
            Clusters of more than 256 nodes take their pod ranges on from there, /24 by /24.
    """
    nodes, first_pods = IPv4Network(node_cidr), int(IPv4Network(pod_cidr).network_address)
    shapes: list[NodeShape] = []
    for pool in cluster.pools:
        for number in range(pool.count):
            index = len(shapes)
            pods = IPv4Network((first_pods + index * 256, 24))
            shapes.append(_shape(cluster, pool, number, index, str(nodes[index + FIRST_HOST]), str(pods)))
    return shapes


def node_name(cluster: Cluster, pool: NodePool, number: int) -> str:
    """`aks-nodepool1-12345678-vmss00000a`; on Windows `akspool00000a`."""
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = BASE36[digit] + digits
    return f"aks{pool.name}{digits}" if pool.os is NodeOs.WINDOWS else f"aks-{pool.name}-{cluster.suffix}-vmss{digits}"


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


def _shape(cluster: Cluster, pool: NodePool, number: int, index: int, address: str, pod_cidr: str) -> NodeShape:
    name = node_name(cluster, pool, number)
    version = pool.kubernetes_version or cluster.kubernetes_version
    scale_set = f"aks-{pool.name}-{cluster.suffix}-vmss"
    return NodeShape(
        name=name,
        pool=pool,
        number=number,
        index=index,
        address=address,
        pod_cidr=pod_cidr,
        provider_id=(
            f"azure:///subscriptions/{cluster.subscription}/resourceGroups/{cluster.node_resource_group.lower()}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{scale_set}/virtualMachines/{number}"
        ),
        kubernetes_version=version,
        labels=_labels(cluster, pool, name, version, number),
        annotations={
            "node.alpha.kubernetes.io/ttl": "0",
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            "alpha.kubernetes.io/provided-node-ip": address,
        },
        taints=tuple(_taint(text) for text in pool.taints),
        reservations=reservations(
            get_vm_size(pool.vm_size), kubernetes_version=version, max_pods=pool.max_pods, os=pool.os
        ),
    )


def _labels(cluster: Cluster, pool: NodePool, name: str, version: str, number: int) -> dict[str, str]:
    """The labels AKS and the cloud provider put on a node. Source: AKS's page on labels, and real nodes."""
    size, release = get_vm_size(pool.vm_size), get_version(version)
    zone = f"{cluster.location}-{pool.zones[number % len(pool.zones)]}" if pool.zones else "0"
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
        "kubernetes.azure.com/mode": pool.mode.lower(),
        "kubernetes.azure.com/network-policy": "none",
        "kubernetes.azure.com/node-image-version": release.node_image,
        "kubernetes.azure.com/nodepool-type": "VirtualMachineScaleSets",
        "kubernetes.azure.com/os-sku": "Ubuntu",
        "kubernetes.azure.com/os-sku-effective": release.os_sku,
        "kubernetes.azure.com/os-sku-requested": "Ubuntu",
        "kubernetes.azure.com/podnetwork-type": "overlay",
        "kubernetes.azure.com/role": "agent",
        "kubernetes.azure.com/sku-cpu": str(size.cores),
        "kubernetes.azure.com/sku-memory": str(size.memory_mib),
        "kubernetes.azure.com/storageprofile": "managed",
        "kubernetes.azure.com/storagetier": "Premium_LRS",
        "kubernetes.io/arch": size.arch,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": os_name,
        "node.kubernetes.io/instance-type": size.name,
        "storageprofile": "managed",
        "storagetier": "Premium_LRS",
        "topology.disk.csi.azure.com/zone": zone if pool.zones else "",
        "topology.kubernetes.io/region": cluster.location,
        "topology.kubernetes.io/zone": zone,
    }
    if minor_of(version) <= 28:
        labels |= {"kubernetes.io/role": "agent", "node-role.kubernetes.io/agent": ""}
    if size.gpus:
        labels["accelerator"] = "nvidia"
    return labels | pool.labels


def _taint(text: str) -> Json:
    """`key=value:Effect` or `key:Effect` as a taint."""
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    taint = {"key": key, "effect": effect}
    return taint | {"value": value} if value else taint
