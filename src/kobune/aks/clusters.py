"""What a managed cluster and its node pools are, as the user asked for them."""

import hashlib
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kobune.aks.reservations import PODS_AT_LEAST, PODS_AT_MOST, NodeOs
from kobune.aks.versions import resolve_version
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE, get_vm_size
from kobune.api.errors import FieldError, Invalid, Json

DEFAULT_LOCATION = "westeurope"
DEFAULT_RESOURCE_GROUP = "kobune"
DEFAULT_MAX_PODS = 250  # Azure CNI overlay, AKS's default network.
NODES_PER_POOL = 1000
NODES_PER_CLUSTER = 5000
# Source: REST reference of managed clusters and agent pools.
CLUSTER_NAME = re.compile(r"[a-zA-Z0-9]|[a-zA-Z0-9][-_a-zA-Z0-9]{0,61}[a-zA-Z0-9]")
POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(frozen=True, slots=True)
class NodePool:
    """Nodes of one VM size."""

    name: str
    count: int
    vm_size: str = DEFAULT_VM_SIZE
    max_pods: int = DEFAULT_MAX_PODS
    mode: str = "System"  # or "User"
    os: NodeOs = NodeOs.LINUX
    kubernetes_version: str = ""  # Full; empty is the control plane's.
    simulated: bool = False  # Nodes without containers: the service plays their kubelets.
    zones: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()  # As AKS writes them: "key=value:NoSchedule".


@dataclass(frozen=True, slots=True)
class Cluster:
    """A managed cluster."""

    name: str
    kubernetes_version: str  # Full: "1.36.1".
    pools: tuple[NodePool, ...]
    resource_group: str = DEFAULT_RESOURCE_GROUP
    location: str = DEFAULT_LOCATION
    subscription: str = "00000000-0000-0000-0000-000000000000"
    tier: str = "Free"

    @property
    def node_resource_group(self) -> str:
        """The group that holds the nodes' machines; AKS names it so."""
        return f"MC_{self.resource_group}_{self.name}_{self.location}"

    @property
    def suffix(self) -> str:
        """Eight digits in the names of the cluster's nodes; all pools share them."""
        digest = hashlib.sha256(f"{self.subscription}/{self.node_resource_group}".encode()).digest()
        return f"{int.from_bytes(digest[:8], 'big') % 100_000_000:08d}"

    def as_json(self) -> Json:
        """The form in which the service keeps it."""
        return asdict(self)


def cluster_from_json(data: Json) -> Cluster:
    """The cluster that `Cluster.as_json` wrote."""
    pools = tuple(
        NodePool(**{**pool, "os": NodeOs(pool["os"]), "zones": tuple(pool["zones"]), "taints": tuple(pool["taints"])})
        for pool in data["pools"]
    )
    fields: dict[str, Any] = {**data, "pools": pools}
    return Cluster(**fields)


def check_cluster(cluster: Cluster) -> Cluster:
    """The cluster with its version and VM sizes in full form.

    Raises:
        Invalid: with one cause for every field that AKS would refuse.
    """
    causes: list[FieldError] = []

    def refuse(field_name: str, message: str) -> None:
        causes.append(FieldError(field_name, "FieldValueInvalid", message))

    if not CLUSTER_NAME.fullmatch(cluster.name):
        refuse(
            "name",
            f"{cluster.name!r}: 1 to 63 letters, digits, '-' and '_', beginning and ending with a letter or digit",
        )
    pools, version = [], cluster.kubernetes_version
    try:
        version = resolve_version(cluster.kubernetes_version)
    except Invalid as error:
        refuse("kubernetesVersion", str(error))
    for pool in cluster.pools:
        where = f"agentPoolProfiles[{pool.name}]"
        if not POOL_NAME.fullmatch(pool.name):
            refuse(f"{where}.name", f"{pool.name!r}: 1 to 12 lower-case letters and digits, beginning with a letter")
        if not 0 <= pool.count <= NODES_PER_CLUSTER:
            refuse(f"{where}.count", f"{pool.count}: from 0 to {NODES_PER_CLUSTER} nodes")
        if not PODS_AT_LEAST <= pool.max_pods <= PODS_AT_MOST:
            refuse(f"{where}.maxPods", f"{pool.max_pods}: from {PODS_AT_LEAST} to {PODS_AT_MOST} pods")
        try:
            pool = replace(pool, vm_size=get_vm_size(pool.vm_size).name)
        except Invalid as error:
            refuse(f"{where}.vmSize", str(error))
        pools.append(pool)
    if causes:
        raise Invalid("; ".join(f"{cause.field}: {cause.message}" for cause in causes), *causes)
    return replace(cluster, kubernetes_version=version, pools=tuple(pools))
