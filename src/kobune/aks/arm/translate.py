"""From a cluster's document to the cluster that the engine is asked for, and back for clusters made elsewhere."""

from kobune.aks.arm.documents import KEPT, cluster_document, pool_document, with_pools
from kobune.aks.arm.fleet import View
from kobune.aks.clusters import AutoscalerProfile, Cluster, NodePool, UpgradeSettings
from kobune.aks.reservations import NodeOs
from kobune.api.errors import Json

RUNTIME_TAG = "kobune.io/runtime"  # On a cluster or a pool it asks for nodes of this kind; on a machine it tells.
REAL, SIMULATED = "real", "simulated"
LOOPBACK = ("127.0.0.0/8", "::1/128")


def to_cluster(
    document: Json, *, group: str, subscription: str, view: View | None, removed: tuple[str, ...] = ()
) -> Cluster:
    """The cluster of a kept document.

    Args:
        view: how the cluster is; the counts of autoscaled pools are the autoscaler's, not the document's.
        removed: machines that are to be deleted.
    """
    properties = document["properties"]
    access = properties.get("apiServerAccessProfile") or {}
    return Cluster(
        name=document["name"],
        kubernetes_version=properties[KEPT]["version"],
        pools=tuple(_pool(pool, view, removed) for pool in properties["agentPoolProfiles"]),
        resource_group=group,
        location=document["location"],
        subscription=subscription,
        tier=document["sku"].get("tier", "Free"),
        autoscaler=_autoscaler(properties.get("autoScalerProfile") or {}),
        authorized_ranges=LOOPBACK
        if access.get("enablePrivateCluster")
        else tuple(access.get("authorizedIPRanges") or ()),
        certificate_generation=properties[KEPT].get("certificates", 1),
        service_account_key_generation=properties[KEPT].get("keys", 1),
        network_policy=properties["networkProfile"].get("networkPolicy") or "none",
        audited=properties[KEPT].get("audited", False),
    )


def from_cluster(cluster: Cluster) -> Json:
    """A body that describes a cluster which was made without ARM, for `adopted_document`."""
    pools = [
        {
            "name": pool.name,
            "count": pool.count,
            "vmSize": pool.vm_size,
            "maxPods": pool.max_pods,
            "mode": pool.mode,
            "osType": pool.os.value,
            "osSKU": "Windows2022" if pool.os is NodeOs.WINDOWS else pool.os_sku,
            "osDiskSizeGB": pool.os_disk_gib,
            "orchestratorVersion": pool.kubernetes_version or cluster.kubernetes_version,
            "availabilityZones": list(pool.zones),
            "nodeLabels": pool.labels,
            "nodeTaints": list(pool.taints),
            "enableAutoScaling": pool.autoscaling,
            "minCount": pool.min_count,
            "maxCount": pool.max_count,
            "tags": {RUNTIME_TAG: SIMULATED} if pool.simulated else {},
        }
        for pool in cluster.pools
    ]
    return {
        "location": cluster.location,
        "identity": {"type": "SystemAssigned"},
        "sku": {"name": "Base", "tier": cluster.tier},
        "properties": {
            "kubernetesVersion": cluster.kubernetes_version,
            "dnsPrefix": cluster.name.replace("_", "-")[:54],
            "networkProfile": {"networkPolicy": cluster.network_policy},
            "agentPoolProfiles": pools,
            # Who made it by hand upgrades it by hand.
            "autoUpgradeProfile": {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"},
        },
    }


def adopted_document(cluster: Cluster) -> Json:
    """The kept form of a cluster that was made without ARM, less what the service adds to every new one."""
    body = from_cluster(cluster)
    document = cluster_document(body, None)
    pools = []
    for pool in body["properties"]["agentPoolProfiles"]:
        kept = pool_document(pool, None, document["properties"])
        kept[KEPT]["simulated"] = bool(pool["tags"])
        pools.append(kept)
    return with_pools(document, pools)


def _pool(pool: Json, view: View | None, removed: tuple[str, ...]) -> NodePool:
    settings = pool["upgradeSettings"]
    count = pool["count"]
    seen = view.pool(pool["name"]) if view else None
    if pool["enableAutoScaling"]:
        count = min(max(seen.count if seen else count, pool["minCount"]), pool["maxCount"])
    known = next((one for one in view.cluster.pools if one.name == pool["name"]), None) if view else None
    names = {machine.name for machine in view.nodes if machine.pool == pool["name"]} if view else set()
    spot = pool["scaleSetPriority"] == "Spot"
    taints = tuple(pool.get("nodeTaints") or ())
    return NodePool(
        name=pool["name"],
        count=count,
        vm_size=pool["vmSize"],
        max_pods=pool["maxPods"],
        mode=pool["mode"],
        os=NodeOs(pool["osType"]),
        kubernetes_version=pool[KEPT]["version"],
        simulated=pool[KEPT].get("simulated", False),
        zones=tuple(str(zone) for zone in pool.get("availabilityZones") or ()),
        labels=dict(pool.get("nodeLabels") or {}),
        taints=taints,
        os_sku=pool["osSKU"],
        os_disk_gib=pool["osDiskSizeGB"],
        autoscaling=pool["enableAutoScaling"],
        min_count=pool.get("minCount") or 0,
        max_count=pool.get("maxCount") or 0,
        spot=spot,
        upgrade=UpgradeSettings(
            max_surge=str(settings["maxSurge"]),
            max_unavailable=str(settings["maxUnavailable"]),
            drain_timeout_minutes=int(settings["drainTimeoutInMinutes"]),
            node_soak_minutes=int(settings["nodeSoakDurationInMinutes"]),
            undrainable=settings["undrainableNodeBehavior"],
        ),
        image_version=pool[KEPT]["image"],
        running=pool["powerState"].get("code", "Running") == "Running",
        removed=tuple(name for name in removed if name in names),
        # What Azure took back is no wish of the user's: it stands in the engine's form alone.
        evicted=known.evicted if known else (),
    )


def _autoscaler(profile: Json) -> AutoscalerProfile:
    """AKS's keys with hyphens, values as strings, booleans in both forms."""
    defaults = AutoscalerProfile()
    values: dict[str, object] = {}
    for key, value in profile.items():
        name = key.replace("-", "_")
        if not hasattr(defaults, name):
            continue
        known = getattr(defaults, name)
        if isinstance(known, bool):
            values[name] = str(value).lower() == "true"
        elif isinstance(known, int | float):
            values[name] = type(known)(value)
        else:
            values[name] = str(value)
    return AutoscalerProfile(**values)  # type: ignore[arg-type]
