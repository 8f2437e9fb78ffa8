"""Cluster documents: what clients send, joined with what is kept, with AKS's defaults; and how they are shown.

A kept document is the whole cluster as ARM shows it, less what changes by itself. Its pools stand in
`properties.agentPoolProfiles` alone; the agent pool resource is another view of the same entry. What clients never see
is under `KEPT`: the full version behind an alias, the node image, whether the nodes are simulated.
"""

from collections.abc import Mapping
from copy import deepcopy

from kobune.aks.arm.fleet import View
from kobune.aks.arm.pool_nodes import node_runtimes, pool_reservations, shortage
from kobune.aks.clusters import DEFAULT_MAX_PODS
from kobune.aks.reservations import OS_DISK_GIB
from kobune.aks.versions import DEFAULT_VERSION, get_version, resolve_version
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE
from kobune.api.errors import Json

KEPT = "_kept"
CLUSTER_TYPE = "Microsoft.ContainerService/ManagedClusters"
POOL_TYPE = "Microsoft.ContainerService/managedClusters/agentPools"
SCALE_SETS = "VirtualMachineScaleSets"
SPOT_TAINT = "kubernetes.azure.com/scalesetpriority=spot:NoSchedule"
SPOT_LABEL = ("kubernetes.azure.com/scalesetpriority", "spot")
WINDOWS_VM_SIZE = "Standard_D2s_v3"  # AKS's choice for Windows pools.
MOST_POOLS = 100
# Nodes take this many pods when nobody says; by network plugin. Source: AKS's page on planning addresses.
MAX_PODS_BY_PLUGIN = {"kubenet": 110, "none": DEFAULT_MAX_PODS}

# Shown by the service, sent back by clients that write what they read; not the clients' to choose.
READ_ONLY = frozenset({
    "provisioningState", "powerState", "currentKubernetesVersion", "fqdn", "privateFQDN", "azurePortalFQDN",
    "maxAgentPools", "resourceUID", "eTag", "status", "reservations", "creationData", KEPT,
})  # fmt: skip
POOL_READ_ONLY = frozenset({
    "provisioningState", "currentOrchestratorVersion", "nodeImageVersion", "eTag", "status", "reservations", "nodeRuntimes", "id", "type_",
    KEPT,
})  # fmt: skip
REPLACED_WHOLE = frozenset({"tags", "nodeLabels", "userAssignedIdentities", "config"})

CLUSTER_DEFAULTS: Json = {
    "enableRBAC": True,
    "disableLocalAccounts": False,
    "supportPlan": "KubernetesOfficial",
    "networkProfile": {
        "networkPlugin": "azure",
        "networkPolicy": "none",
        "networkDataplane": "azure",
        "podCidr": "10.244.0.0/16",
        "serviceCidr": "10.0.0.0/16",
        "dnsServiceIP": "10.0.0.10",
        "loadBalancerSku": "standard",
        "outboundType": "loadBalancer",
        "podCidrs": ["10.244.0.0/16"],
        "serviceCidrs": ["10.0.0.0/16"],
        "ipFamilies": ["IPv4"],
        "loadBalancerProfile": {"managedOutboundIPs": {"count": 1}, "backendPoolType": "nodeIPConfiguration"},
    },
    "servicePrincipalProfile": {"clientId": "msi"},
    "autoUpgradeProfile": {"upgradeChannel": "none", "nodeOSUpgradeChannel": "NodeImage"},
    "oidcIssuerProfile": {"enabled": False},
    "nodeProvisioningProfile": {"mode": "Manual"},
    "securityProfile": {},
    "storageProfile": {
        "diskCSIDriver": {"enabled": False},
        "fileCSIDriver": {"enabled": False},
        "snapshotController": {"enabled": False},
    },
    "metricsProfile": {"costAnalysis": {"enabled": False}},
    "workloadAutoScalerProfile": {},
    "bootstrapProfile": {"artifactSource": "Direct"},
}
POOL_DEFAULTS: Json = {
    "count": 1,
    "osDiskSizeGB": OS_DISK_GIB,
    "osDiskType": "Managed",
    "kubeletDiskType": "OS",
    "type": SCALE_SETS,
    "enableAutoScaling": False,
    "scaleDownMode": "Delete",
    "scaleSetPriority": "Regular",
    "enableNodePublicIP": False,
    "enableEncryptionAtHost": False,
    "enableUltraSSD": False,
    "enableFIPS": False,
    "osType": "Linux",
    "powerState": {"code": "Running"},
    "securityProfile": {"enableSecureBoot": False, "enableVTPM": False, "sshAccess": "LocalUser"},
}
UPGRADE_DEFAULTS: Json = {
    "maxSurge": "10%",
    "maxUnavailable": "0",
    "drainTimeoutInMinutes": 30,
    "nodeSoakDurationInMinutes": 0,
    "undrainableNodeBehavior": "Schedule",
}
# The strings on the wire are the autoscaler's own flags.
AUTOSCALER_DEFAULTS: Json = {
    "balance-similar-node-groups": "false",
    "daemonset-eviction-for-empty-nodes": False,
    "daemonset-eviction-for-occupied-nodes": True,
    "expander": "random",
    "ignore-daemonsets-utilization": False,
    "max-empty-bulk-delete": "10",
    "max-graceful-termination-sec": "600",
    "max-node-provision-time": "15m",
    "max-total-unready-percentage": "45",
    "new-pod-scale-up-delay": "0s",
    "ok-total-unready-count": "3",
    "scale-down-delay-after-add": "10m",
    "scale-down-delay-after-delete": "10s",
    "scale-down-delay-after-failure": "3m",
    "scale-down-unneeded-time": "10m",
    "scale-down-unready-time": "20m",
    "scale-down-utilization-threshold": "0.5",
    "scan-interval": "10s",
    "skip-nodes-with-local-storage": "false",
    "skip-nodes-with-system-pods": "true",
}


def overlay(below: Json, above: Mapping[str, object]) -> Json:
    """`below` with what `above` says. An empty string and a null mean "as you like" and change nothing."""
    joined = dict(below)
    for field, value in above.items():
        if value is None or value == "":
            continue
        known = joined.get(field)
        if isinstance(value, dict) and isinstance(known, dict) and field not in REPLACED_WHOLE:
            joined[field] = overlay(known, value)
        else:
            joined[field] = deepcopy(value)
    return joined


def without(document: Mapping[str, object], fields: frozenset[str]) -> Json:
    return {field: value for field, value in document.items() if field not in fields}


def pool_document(body: Json, existing: Json | None, cluster: Json) -> Json:
    """A pool as it should be kept.

    Args:
        body: the pool's properties (and `name`) as the client sent them; `existing`: as kept, None for a new pool.
        cluster: the properties of the cluster it belongs to, version and network resolved.
    Raises:
        Invalid: an unknown Kubernetes version.
    """
    sent = without(body, POOL_READ_ONLY)
    if existing is None:
        pool = overlay(POOL_DEFAULTS, sent)
        kept: Json = {}
    else:
        pool = overlay(without(existing, frozenset({KEPT})), sent)
        kept = dict(existing.get(KEPT, {}))
    windows = pool["osType"] == "Windows"
    pool.setdefault("mode", "User")
    pool.setdefault("vmSize", WINDOWS_VM_SIZE if windows else DEFAULT_VM_SIZE)
    pool.setdefault("osSKU", "Windows2022" if windows else "Ubuntu")
    plugin = cluster.get("networkProfile", {}).get("networkPlugin", "azure")
    mode = cluster.get("networkProfile", {}).get("networkPluginMode", "")
    default_pods = MAX_PODS_BY_PLUGIN.get(plugin, DEFAULT_MAX_PODS if mode == "overlay" else 30)
    pool.setdefault("maxPods", default_pods)
    if not pool["maxPods"]:  # az's 0 is "as you like" as well.
        pool["maxPods"] = default_pods
    if not pool["osDiskSizeGB"]:
        pool["osDiskSizeGB"] = OS_DISK_GIB
    pool["upgradeSettings"] = overlay(UPGRADE_DEFAULTS, pool.get("upgradeSettings") or {})
    if not pool["enableAutoScaling"]:
        pool.pop("minCount", None)
        pool.pop("maxCount", None)
    # Theirs by being spot pools, whether clients send them back or not.
    pool["nodeTaints"] = [taint for taint in pool.get("nodeTaints") or () if taint != SPOT_TAINT]
    pool["nodeLabels"] = {k: v for k, v in (pool.get("nodeLabels") or {}).items() if (k, v) != SPOT_LABEL}
    if pool["scaleSetPriority"] == "Spot":
        pool.setdefault("scaleSetEvictionPolicy", "Delete")
        pool.setdefault("spotMaxPrice", -1)
    pool.setdefault("orchestratorVersion", cluster["kubernetesVersion"])
    wanted = str(pool["orchestratorVersion"])
    if existing is None or wanted != existing["orchestratorVersion"] or "version" not in kept:
        same_as_cluster = wanted == cluster["kubernetesVersion"]
        kept["version"] = cluster[KEPT]["version"] if same_as_cluster else resolve_version(wanted)
        kept["image"] = newest_image(kept["version"], pool)
    return pool | {KEPT: kept}


def newest_image(version: str, pool: Json) -> str:
    """The name of the node image that a pool of this OS gets with a Kubernetes version."""
    image = get_version(version).node_image
    family, _, release = image.rpartition("-")
    names = {
        "AzureLinux": "AKSAzureLinux-V3gen2",
        "AzureLinux3": "AKSAzureLinux-V3gen2",
        "Windows2019": "AKSWindows-2019-17763.7558",
        "Windows2022": "AKSWindows-2022-20348.4171",
        "Windows2025": "AKSWindows-2025-26100.6584",
    }
    return f"{names.get(str(pool.get('osSKU')), family)}-{release}"


def cluster_document(body: Json, existing: Json | None) -> Json:
    """A cluster, less its pools' own defaults, as it should be kept. `body` is the whole resource as sent."""
    sent = without(body.get("properties") or {}, READ_ONLY | {"agentPoolProfiles"})
    if existing is None:
        network = sent.get("networkProfile") or {}
        properties = overlay(CLUSTER_DEFAULTS, sent)
        if network.get("networkPlugin") in (None, "", "azure") and not _has_subnet(body):
            properties["networkProfile"].setdefault("networkPluginMode", "overlay")
        document: Json = {"tags": {}, "kind": "Base", "sku": {"name": "Base", "tier": "Free"}}
        kept: Json = {}
    else:
        properties = overlay(without(existing["properties"], frozenset({KEPT})), sent)
        kept = dict(existing["properties"][KEPT])
        document = without(existing, frozenset({"properties"}))
    for field in ("tags", "sku", "identity", "extendedLocation", "kind"):
        if body.get(field) is not None:
            document[field] = overlay(
                document.get(field) or {} if field not in REPLACED_WHOLE else {}, body[field]
            ) if isinstance(body[field], dict) else body[field]  # fmt: skip
    if properties["autoUpgradeProfile"].get("upgradeChannel") == "node-image":
        known = existing["properties"]["autoUpgradeProfile"].get("upgradeChannel") if existing else ""
        if known != "node-image":  # Afterwards the rules watch over it.
            properties["autoUpgradeProfile"]["nodeOSUpgradeChannel"] = "NodeImage"
    if properties.get("autoScalerProfile"):
        properties["autoScalerProfile"] = overlay(AUTOSCALER_DEFAULTS, properties["autoScalerProfile"])
    wanted = str(properties.setdefault("kubernetesVersion", DEFAULT_VERSION))
    if existing is None or wanted != existing["properties"]["kubernetesVersion"]:
        kept["version"] = resolve_version(wanted)
    properties[KEPT] = kept
    return document | {"properties": properties}


def _has_subnet(body: Json) -> bool:
    pools = (body.get("properties") or {}).get("agentPoolProfiles") or []
    return any(pool.get("podSubnetID") for pool in pools)


def find_pool(document: Json, name: str) -> Json | None:
    """The kept pool of a cluster's document."""
    pools = document["properties"]["agentPoolProfiles"]
    return next((pool for pool in pools if pool["name"].lower() == name.lower()), None)


def with_pool(document: Json, pool: Json) -> Json:
    """The document with this pool in the place of the one of its name, or after the others."""
    pools = list(document["properties"]["agentPoolProfiles"])
    for index, known in enumerate(pools):
        if known["name"] == pool["name"]:
            pools[index] = pool
            break
    else:
        pools.append(pool)
    return with_pools(document, pools)


def with_pools(document: Json, pools: list[Json]) -> Json:
    return document | {"properties": document["properties"] | {"agentPoolProfiles": pools}}


def with_states(document: Json, state: str, pools: tuple[str, ...]) -> Json:
    """The document with this provisioningState, and these pools with it too."""
    profiles = [
        pool | {"provisioningState": state} if pool["name"] in pools else pool
        for pool in document["properties"]["agentPoolProfiles"]
    ]
    properties = document["properties"] | {"provisioningState": state, "agentPoolProfiles": profiles}
    return document | {"properties": properties}


def render_cluster(document: Json, view: View | None, etag: str) -> Json:
    """The cluster as ARM shows it. `view` is None before the engine has heard of it."""
    properties = without(document["properties"], frozenset({KEPT}))
    running = view.wanted_running if view else True
    kept = document["properties"][KEPT]
    properties["powerState"] = {"code": "Running" if running else "Stopped"}
    properties["currentKubernetesVersion"] = (view.kubernetes_version if view else "") or kept["version"]
    properties["maxAgentPools"] = MOST_POOLS
    properties["agentPoolProfiles"] = [
        render_pool(pool, view, cluster_runs=running) for pool in document["properties"]["agentPoolProfiles"]
    ]
    return document | {"properties": properties | {"eTag": etag}, "eTag": etag}


def render_pool(pool: Json, view: View | None, *, cluster_runs: bool = True) -> Json:
    """A pool as ARM shows it, flat with its name, as in `agentPoolProfiles`."""
    shown = without(pool, frozenset({KEPT}))
    if pool["scaleSetPriority"] == "Spot":
        shown["nodeTaints"] = [*shown["nodeTaints"], SPOT_TAINT]
        shown["nodeLabels"] = shown["nodeLabels"] | dict([SPOT_LABEL])
    seen = view.pool(pool["name"]) if view else None
    shown["currentOrchestratorVersion"] = (seen.kubernetes_version if seen else "") or pool[KEPT]["version"]
    shown["nodeImageVersion"] = (seen.image_version if seen else "") or pool[KEPT]["image"]
    if seen is not None and pool["enableAutoScaling"]:
        shown["count"] = seen.count
    if not cluster_runs:
        shown["powerState"] = {"code": "Stopped"}
    shown["reservations"] = pool_reservations(pool, shown["currentOrchestratorVersion"])
    if view is not None:
        shown["nodeRuntimes"] = node_runtimes(pool, view)
    problem = shortage(pool, view) if view is not None and not pool[KEPT].get("simulated") else ""
    if problem:
        shown["status"] = {"provisioningError": {"code": "SimulatedNodes", "message": problem}}
    return shown


def pool_resource(document: Json, pool: Json, view: View | None) -> Json:
    """A pool as the sub-resource shows it."""
    shown = render_pool(pool, view, cluster_runs=view.wanted_running if view else True)
    name = shown.pop("name")
    return {"id": f"{document['id']}/agentPools/{name}", "name": name, "type": POOL_TYPE, "properties": shown}
