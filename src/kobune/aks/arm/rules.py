"""AKS's rules on clusters and pools: what a request may ask for. Every function raises ArmError with AKS's code.

Source: the REST reference, AKS's pages on limits, system pools and quotas; messages as users quote them.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_network

from kobune.aks.arm.auto_upgrade import CLUSTER_CHANNELS, NODE_CHANNELS
from kobune.aks.arm.documents import MOST_POOLS, SCALE_SETS
from kobune.aks.arm.errors import ArmError, bad_request, invalid_parameter, not_supported
from kobune.aks.clusters import CLUSTER_NAME, NODES_PER_CLUSTER, NODES_PER_POOL, POOL_NAME, TIERS
from kobune.aks.reservations import PODS_AT_LEAST, PODS_AT_MOST
from kobune.aks.vm_sizes import VM_SIZES, VmSize, get_vm_size
from kobune.api.errors import Invalid, Json

NODES_PER_FREE_CLUSTER = 1000
SYSTEM_PODS_AT_LEAST = 30  # In all nodes of a system pool together.
NODE_GROUP_LENGTH = 80
OS_DISK_GIB_BOUNDS = (30, 2048)
WINDOWS_POOL_NAME_LENGTH = 6
NETWORK_POLICIES = ("none", "azure", "calico", "cilium")
ZONES = ("1", "2", "3")
DNS_PREFIX = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,52}[a-zA-Z0-9])?")
RESERVED_PREFIX = "kubernetes.azure.com"
# Source: ARM's page on reserved resource names.
RESERVED_INSIDE, RESERVED_AT_START, RESERVED_WHOLE = ("microsoft", "windows"), ("login", "xbox"), ("azure",)
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
OS_SKUS = {
    "Linux": ("Ubuntu", "Ubuntu2204", "Ubuntu2404", "AzureLinux", "AzureLinux3"),
    "Windows": ("Windows2019", "Windows2022", "Windows2025"),
}
# Fixed once a pool exists.
POOL_FIXED = ("vmSize", "osType", "maxPods", "availabilityZones", "osDiskSizeGB", "osDiskType", "scaleSetPriority",
              "type", "vnetSubnetID", "podSubnetID", "proximityPlacementGroupID")  # fmt: skip


def check_cluster_name(name: str) -> None:
    if not CLUSTER_NAME.fullmatch(name):
        raise invalid_parameter(
            f"The value of parameter name is invalid. Error details: the managed cluster name {name!r} must have 1 to 63 "
            "letters, digits, underscores and hyphens, and begin and end with a letter or digit. "
            "Please see https://aka.ms/aks-naming-rules for more details.",
            target="name",
        )
    lower = name.lower()
    if any(word in lower for word in RESERVED_INSIDE) or lower.startswith(RESERVED_AT_START) or lower in RESERVED_WHOLE:
        raise bad_request(
            "ReservedResourceName",
            f"The resource name '{name}' or a part of the name is a trademarked or reserved word.",
        )


def check_cluster(document: Json, tiers: Iterable[str]) -> None:
    """The cluster's own fields; `tiers` are those that can be had here."""
    properties = document["properties"]
    prefix = properties.get("dnsPrefix") or properties.get("fqdnSubdomain") or ""
    if not DNS_PREFIX.fullmatch(prefix):
        raise invalid_parameter(
            f"The value of parameter dnsPrefix is invalid. Error details: DNS prefix {prefix!r} must have 1 to 54 letters, "
            "digits and hyphens, and begin and end with a letter or digit. Please see https://aka.ms/aks-naming-rules "
            "for more details.",
            target="dnsPrefix",
        )
    group = properties["nodeResourceGroup"]
    if len(group) > NODE_GROUP_LENGTH:
        raise invalid_parameter(
            f"The length of the node resource group name is too long. The maximum length is {NODE_GROUP_LENGTH} and the "
            f"length of the value provided is {len(group)} ({group}). Please see https://aka.ms/aks-naming-rules for more "
            "details.",
            target="nodeResourceGroup",
        )
    sku = document["sku"]
    if sku.get("name", "Base") != "Base":
        raise not_supported(f"The managed cluster SKU {sku.get('name')!r}", target="sku.name")
    tier = sku.get("tier", "Free")
    if tier not in TIERS:
        raise invalid_parameter(f"The value of parameter sku.tier is invalid: {tier!r} is none of {', '.join(TIERS)}.")
    if tier not in tiers:
        raise not_supported(
            f"A highly available control plane (tier {tier!r}) needs an etcd server on this machine; without one it",
            target="sku.tier",
        )
    long_term = properties.get("supportPlan") == "AKSLongTermSupport"
    if long_term != (tier == "Premium"):
        raise bad_request(
            "InvalidSupportPlan",
            "The premium tier and the support plan 'AKSLongTermSupport' must be chosen together.",
        )
    if properties.get("disableLocalAccounts") and not properties.get("aadProfile"):
        raise bad_request(
            "BadRequest",
            "disableLocalAccounts can only be set on a cluster with Microsoft Entra integration (aadProfile).",
        )
    if not properties.get("enableRBAC", True):
        raise not_supported("A cluster without Kubernetes RBAC", target="properties.enableRBAC")
    _check_channels(properties["autoUpgradeProfile"])
    _check_network_policy(properties["networkProfile"])
    for address in (properties.get("apiServerAccessProfile") or {}).get("authorizedIPRanges") or []:
        _check_range(str(address))


def check_pools(document: Json) -> None:
    """The pools of a cluster, together and each."""
    pools = document["properties"]["agentPoolProfiles"]
    names = [pool["name"] for pool in pools]
    if len(set(names)) != len(names):
        raise invalid_parameter("Agent pool names must be unique in a managed cluster.", target="agentPoolProfiles")
    if len(pools) > MOST_POOLS:
        raise bad_request("AgentPoolCountExceedsQuotaLimit", f"A managed cluster has at most {MOST_POOLS} agent pools.")
    for pool in pools:
        check_pool(pool, document["location"])
    if not any(pool["mode"] == "System" for pool in pools):
        raise bad_request("MustDefineAtLeastOneSystemPool", "Must define at least one system pool.")
    nodes = sum(pool["count"] for pool in pools)
    most = NODES_PER_FREE_CLUSTER if document["sku"].get("tier", "Free") == "Free" else NODES_PER_CLUSTER
    if nodes > most:
        raise bad_request(
            "NodeCountExceedsLimit",
            f"A managed cluster of tier {document['sku'].get('tier', 'Free')} has at most {most} nodes, and {nodes} are "
            "asked for. See https://aka.ms/aks/quotas-skus-regions.",
        )


def check_pool(pool: Json, location: str) -> None:
    """One pool by itself."""
    name = pool["name"]
    where = f"agentPoolProfile[{name}]"
    if not POOL_NAME.fullmatch(name):
        raise invalid_parameter(
            f"The value of parameter agentPoolProfile.name is invalid. Error details: agent pool name {name!r} must have 1 "
            "to 12 lower-case letters and digits, and begin with a letter. Please see https://aka.ms/aks-naming-rules for "
            "more details.",
            target="agentPoolProfile.name",
        )
    _check_kind(pool, where)
    size = check_size(pool["vmSize"], location)
    _check_counts(pool, where)
    _check_system(pool, size)
    _check_zones(pool, location)
    _check_labels(pool, where)
    _check_upgrade(pool["upgradeSettings"], where)


def check_size(name: str, location: str) -> VmSize:
    try:
        return get_vm_size(name)
    except Invalid as error:
        raise bad_request(
            "BadRequest",
            f"The VM size of {name} is not allowed in your subscription in location '{location}'. "
            f"The available VM sizes are '{','.join(size.lower() for size in VM_SIZES)}'. "
            "For more information, please visit https://aka.ms/aks/quotas-skus-regions.",
            target="vmSize",
        ) from error


def check_pool_change(before: Json, after: Json) -> None:
    """What must not change on a pool that exists."""
    for field in POOL_FIXED:
        if _comparable(before.get(field)) != _comparable(after.get(field)):
            raise bad_request(
                "PropertyChangeNotAllowed",
                f"Changing property 'properties.{field}' is not allowed.",
                target=f"properties.{field}",
            )


def check_cluster_change(before: Json, after: Json) -> None:
    """What must not change on a cluster that exists."""
    for field in ("dnsPrefix", "fqdnSubdomain", "nodeResourceGroup", "enableRBAC"):
        old, new = before["properties"].get(field), after["properties"].get(field)
        if _comparable(old) != _comparable(new):
            raise _fixed(field)
    old_network, new_network = before["properties"]["networkProfile"], after["properties"]["networkProfile"]
    for field in ("networkPlugin", "serviceCidr", "dnsServiceIP", "loadBalancerSku"):
        if _comparable(old_network.get(field)) != _comparable(new_network.get(field)):
            raise _fixed(f"networkProfile.{field}")


def _check_network_policy(network: Json) -> None:
    """Which engines there are, and what each needs. Source: AKS's page on network policies."""
    policy, plugin = network.get("networkPolicy") or "none", network.get("networkPlugin")
    if policy not in NETWORK_POLICIES:
        raise invalid_parameter(
            f"The value of parameter networkProfile.networkPolicy is invalid: {policy!r} is none of "
            f"{', '.join(NETWORK_POLICIES)}.",
            target="properties.networkProfile.networkPolicy",
        )
    if policy == "azure" and plugin != "azure":
        raise bad_request(
            "BadRequest",
            f"Network policy azure requires network plugin azure, not {plugin}.",
            target="properties.networkProfile.networkPolicy",
        )
    if (policy == "cilium") != (network.get("networkDataplane") == "cilium") and policy != "none":
        raise bad_request(
            "BadRequest",
            "Network policy cilium and network dataplane cilium must be chosen together.",
            target="properties.networkProfile.networkDataplane",
        )


def _check_channels(profile: Json) -> None:
    channels = (("upgradeChannel", CLUSTER_CHANNELS), ("nodeOSUpgradeChannel", NODE_CHANNELS))
    for field, known in channels:
        if profile.get(field, known[0]) not in known:
            raise invalid_parameter(
                f"The value of parameter autoUpgradeProfile.{field} is invalid: {profile[field]!r} is none of "
                f"{', '.join(known)}.",
                target=f"properties.autoUpgradeProfile.{field}",
            )
    if profile.get("upgradeChannel") == "node-image" and profile.get("nodeOSUpgradeChannel") != "NodeImage":
        raise invalid_parameter(
            "nodeOSUpgradeChannel must be 'NodeImage' as long as upgradeChannel is 'node-image'. See "
            "https://aka.ms/aks/auto-upgrade-node-os-image.",
            target="properties.autoUpgradeProfile.nodeOSUpgradeChannel",
        )


def _fixed(field: str) -> ArmError:
    return bad_request(
        "PropertyChangeNotAllowed", f"Changing property '{field}' is not allowed.", target=f"properties.{field}"
    )


def _comparable(value: object) -> object:
    """Casing is no change, nor is an empty list none."""
    if isinstance(value, str):
        return value.lower() or None
    if isinstance(value, list):
        return sorted(str(item) for item in value) or None
    return value


def _check_kind(pool: Json, where: str) -> None:
    if pool["type"] != SCALE_SETS:
        raise not_supported(f"Agent pool type {pool['type']!r}", target=f"{where}.type")
    if pool["mode"] not in ("System", "User"):
        raise invalid_parameter(
            f"The value of parameter {where}.mode is invalid: {pool['mode']!r} is neither 'System' nor 'User'."
        )
    if pool["osType"] not in OS_SKUS:
        raise invalid_parameter(
            f"The value of parameter {where}.osType is invalid: {pool['osType']!r} is neither 'Linux' nor 'Windows'."
        )
    if pool["osSKU"] not in OS_SKUS[pool["osType"]]:
        raise invalid_parameter(
            f"The value of parameter {where}.osSKU is invalid: {pool['osSKU']!r} is none of "
            f"{', '.join(OS_SKUS[pool['osType']])}."
        )
    if pool["osType"] == "Windows" and len(pool["name"]) > WINDOWS_POOL_NAME_LENGTH:
        raise bad_request(
            "WindowsAgentPoolNameTooLong",
            f"Windows agent pool name {pool['name']!r} is longer than {WINDOWS_POOL_NAME_LENGTH} characters.",
            target="agentPoolProfile.name",
        )
    if pool["osType"] == "Windows" and pool["mode"] == "System":
        raise invalid_parameter("Windows agent pools cannot be of mode 'System'.", target=f"{where}.mode")
    if pool["scaleSetPriority"] not in ("Regular", "Spot"):
        raise invalid_parameter(
            f"The value of parameter {where}.scaleSetPriority is invalid: {pool['scaleSetPriority']!r}."
        )
    if pool["scaleSetPriority"] == "Spot" and pool["mode"] == "System":
        raise bad_request("InvalidParameter", f"Spot agent pool {pool['name']!r} cannot be of mode 'System'.")


def _check_counts(pool: Json, where: str) -> None:
    count, least = pool["count"], 1 if pool["mode"] == "System" else 0
    if not isinstance(count, int) or not least <= count <= NODES_PER_POOL:
        raise bad_request(
            "InvalidParameter",
            f"The value of parameter agentPoolProfile.count is invalid. Error details: agent pool {pool['name']!r} of mode "
            f"{pool['mode']} has from {least} to {NODES_PER_POOL} nodes, not {count}.",
            target="agentPoolProfile.count",
        )
    if not PODS_AT_LEAST <= pool["maxPods"] <= PODS_AT_MOST:
        raise bad_request(
            "InvalidParameter",
            f"The value of parameter agentPoolProfile.maxPods is invalid. Error details: from {PODS_AT_LEAST} to "
            f"{PODS_AT_MOST} pods on a node, not {pool['maxPods']}.",
            target="agentPoolProfile.maxPods",
        )
    smallest, largest = OS_DISK_GIB_BOUNDS
    if not smallest <= pool["osDiskSizeGB"] <= largest:
        raise invalid_parameter(
            f"The value of parameter agentPoolProfile.osDiskSizeGB is invalid. Error details: from {smallest} to {largest} GB, "
            f"or 0 for the usual size, not {pool['osDiskSizeGB']}.",
            target="agentPoolProfile.osDiskSizeGB",
        )
    if not pool["enableAutoScaling"]:
        return
    low, high = pool.get("minCount"), pool.get("maxCount")
    if not isinstance(low, int) or not isinstance(high, int):
        raise invalid_parameter(
            f"{where}: minCount and maxCount must be given when enableAutoScaling is true.", target=where
        )
    if not least <= low <= high <= NODES_PER_POOL:
        raise invalid_parameter(
            f"{where}: minCount {low} and maxCount {high} must lie between {least} and {NODES_PER_POOL}, minCount not above "
            "maxCount.",
            target=where,
        )


def _check_system(pool: Json, size: VmSize) -> None:
    if pool["mode"] != "System":
        return
    if size.cores < 2 or size.memory_gib < 4:
        raise bad_request(
            "SystemPoolSkuTooLow",
            "The system pool must use a VM sku with at least 2 cores and 4GB memory. "
            f"VM size {size.name} of agent pool {pool['name']} has {size.cores} cores and {size.memory_gib:g}GB.",
        )
    nodes = max(pool["count"], 1)
    if pool["maxPods"] * nodes < SYSTEM_PODS_AT_LEAST:
        raise bad_request(
            "InsufficientMaxPods",
            f"The AgentPoolProfile {pool['name']!r} has an invalid total maxPods(maxPods per node * node count), the total "
            f"maxPods({pool['maxPods']} * {nodes}) should be larger than {SYSTEM_PODS_AT_LEAST}. Please refer to "
            "https://aka.ms/aks-min-max-pod for more details.",
        )


def _check_zones(pool: Json, location: str) -> None:
    for zone in pool.get("availabilityZones") or ():
        if str(zone) not in ZONES:
            raise bad_request(
                "AvailabilityZoneNotSupported",
                "Preflight validation check for resource(s) for container service failed. Message: The zone(s) "
                f"'{zone}' for resource '{pool['name']}' is not supported. The supported zones for location '{location}' "
                f"are '{','.join(ZONES)}'.",
            )


def _check_labels(pool: Json, where: str) -> None:
    for key, value in (pool.get("nodeLabels") or {}).items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(str(value)):
            raise invalid_parameter(
                f"The value of parameter {where}.nodeLabels is invalid: {key}={value} is no Kubernetes label.",
                target=f"{where}.nodeLabels",
            )
        if key.partition("/")[0].endswith(RESERVED_PREFIX):
            raise invalid_parameter(
                f"The value of parameter {where}.nodeLabels is invalid: label {key!r} has the prefix "
                f"'{RESERVED_PREFIX}', which is reserved for AKS.",
                target=f"{where}.nodeLabels",
            )
    for taint in pool.get("nodeTaints") or ():
        rest, _, effect = str(taint).rpartition(":")
        key, _, value = rest.partition("=")
        if effect not in _EFFECTS or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise invalid_parameter(
                f"The value of parameter {where}.nodeTaints is invalid: {taint!r} has not the form key=value:effect with an "
                f"effect of {', '.join(_EFFECTS)}.",
                target=f"{where}.nodeTaints",
            )


def _check_upgrade(settings: Json, where: str) -> None:
    surge, unavailable = _share(settings["maxSurge"]), _share(settings["maxUnavailable"])
    if surge is None:
        raise invalid_parameter(
            f"{where}: maxSurge {settings['maxSurge']!r} is neither a number of nodes nor a percentage up to 100%."
        )
    if unavailable is None:
        raise invalid_parameter(
            f"{where}: maxUnavailable {settings['maxUnavailable']!r} is neither a number of nodes nor a percentage."
        )
    if not surge and not unavailable:
        raise invalid_parameter(f"{where}: maxSurge and maxUnavailable cannot both be 0.")
    for field, least, most in (("drainTimeoutInMinutes", 1, 1440), ("nodeSoakDurationInMinutes", 0, 30)):
        if not least <= int(settings[field]) <= most:
            raise invalid_parameter(f"{where}: {field} {settings[field]} is not between {least} and {most}.")
    if settings["undrainableNodeBehavior"] not in ("Schedule", "Cordon"):
        raise invalid_parameter(
            f"{where}: undrainableNodeBehavior {settings['undrainableNodeBehavior']!r} is neither 'Schedule' nor 'Cordon'."
        )


def _share(text: object) -> int | None:
    """The number before an optional percent sign; None when it is no such thing."""
    plain = str(text).removesuffix("%")
    if not plain.isdecimal() or (str(text).endswith("%") and int(plain) > 100):
        return None
    return int(plain)


def _check_range(text: str) -> None:
    try:
        ip_network(text, strict=False)
    except ValueError as error:
        raise invalid_parameter(
            f"The value of parameter apiServerAccessProfile.authorizedIPRanges is invalid: {text!r} is no IP range.",
            target="apiServerAccessProfile.authorizedIPRanges",
        ) from error
