"""What a managed cluster and its node pools are, as the user asked for them."""

import hashlib
import re
from dataclasses import dataclass, field, replace

from kobune.aks.reservations import OS_DISK_GIB, PODS_AT_LEAST, PODS_AT_MOST, NodeOs
from kobune.aks.versions import resolve_version
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE, get_vm_size
from kobune.api.errors import FieldError, Invalid

DEFAULT_LOCATION = "westeurope"
DEFAULT_RESOURCE_GROUP = "kobune"
DEFAULT_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
DEFAULT_MAX_PODS = 250  # Azure CNI overlay, AKS's default network.
TIERS = ("Free", "Standard", "Premium")
NODES_PER_POOL = 1000
NODES_PER_CLUSTER = 5000
# Source: REST reference of managed clusters and agent pools.
CLUSTER_NAME = re.compile(r"[a-zA-Z0-9]|[a-zA-Z0-9][-_a-zA-Z0-9]{0,61}[a-zA-Z0-9]")
POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(frozen=True, slots=True)
class UpgradeSettings:
    """How a pool is upgraded. Source: AKS's page on rolling upgrades of node pools."""

    max_surge: str = "10%"  # Nodes above the pool's count: a number, or a share of the count, rounded up.
    max_unavailable: str = "0"  # Nodes below it, in the same form; used when there is no surge.
    drain_timeout_minutes: int = 30
    node_soak_minutes: int = 0  # Between a node's upgrade and the next one's.
    undrainable: str = "Schedule"  # or "Cordon": the node is left as it is, and the upgrade goes on.


@dataclass(frozen=True, slots=True)
class AutoscalerProfile:
    """How the cluster autoscaler behaves; AKS's keys with underscores, and its defaults. Durations as "10m", "0s"."""

    balance_similar_node_groups: bool = False
    daemonset_eviction_for_empty_nodes: bool = False
    daemonset_eviction_for_occupied_nodes: bool = True
    expander: str = "random"  # or "least-waste", "most-pods", "priority"; several, by commas, one after the other.
    ignore_daemonsets_utilization: bool = False
    max_empty_bulk_delete: int = 10
    max_graceful_termination_sec: int = 600
    max_node_provision_time: str = "15m"
    max_total_unready_percentage: int = 45
    new_pod_scale_up_delay: str = "0s"
    ok_total_unready_count: int = 3
    scale_down_delay_after_add: str = "10m"
    scale_down_delay_after_delete: str = ""  # Empty: the scan interval.
    scale_down_delay_after_failure: str = "3m"
    scale_down_unneeded_time: str = "10m"
    scale_down_unready_time: str = "20m"
    scale_down_utilization_threshold: float = 0.5
    scan_interval: str = "10s"
    skip_nodes_with_local_storage: bool = False
    skip_nodes_with_system_pods: bool = True


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
    os_sku: str = "Ubuntu"
    os_disk_gib: int = OS_DISK_GIB
    autoscaling: bool = False
    min_count: int = 0  # The autoscaler's bounds of `count`.
    max_count: int = 0
    spot: bool = False
    upgrade: UpgradeSettings = UpgradeSettings()
    image_version: str = ""  # Of the node image; empty is the newest of the Kubernetes version.
    running: bool = True
    removed: tuple[str, ...] = ()  # Names of the machines to be deleted first, whatever `count` says.
    evicted: tuple[str, ...] = ()  # Of a spot pool: names of the machines that Azure takes back, without a drain.


@dataclass(frozen=True, slots=True)
class Cluster:
    """A managed cluster."""

    name: str
    kubernetes_version: str  # Full: "1.36.1".
    pools: tuple[NodePool, ...]
    resource_group: str = DEFAULT_RESOURCE_GROUP
    location: str = DEFAULT_LOCATION
    subscription: str = DEFAULT_SUBSCRIPTION
    tier: str = "Free"
    autoscaler: AutoscalerProfile = AutoscalerProfile()
    authorized_ranges: tuple[str, ...] = ()  # Whence the API server may be reached; empty: from everywhere.
    certificate_generation: int = 1  # One more asks for new certificates.
    service_account_key_generation: int = 1  # One more asks for a new signing key.
    # Who enforces NetworkPolicies: "none", or "azure", "calico", "cilium", which are all the same here.
    network_policy: str = "none"
    audited: bool = False  # Whether the API server writes an audit log.

    @property
    def node_resource_group(self) -> str:
        """The group that holds the nodes' machines; AKS names it so."""
        return f"MC_{self.resource_group}_{self.name}_{self.location}"

    @property
    def suffix(self) -> str:
        """Eight digits in the names of the cluster's nodes; all pools share them."""
        digest = hashlib.sha256(f"{self.subscription}/{self.node_resource_group}".encode()).digest()
        return f"{int.from_bytes(digest[:8], 'big') % 100_000_000:08d}"


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
    if cluster.tier not in TIERS:
        refuse("sku.tier", f"{cluster.tier!r}: {', '.join(TIERS)}")
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
