"""Which version a cluster or a pool may go to, and how the offers are shown.

Source: AKS's page on supported Kubernetes versions; Kubernetes' version skew policy.
"""

from kobune.aks.arm.documents import KEPT
from kobune.aks.arm.errors import ArmError, bad_request, not_allowed
from kobune.aks.reservations import minor_of
from kobune.aks.versions import DEFAULT_VERSION, VERSIONS, available_upgrades
from kobune.api.errors import Json

MINORS_BEHIND = 3  # A pool may be this far behind its control plane.


def version_key(version: str) -> tuple[int, ...]:
    """For comparing full versions."""
    return tuple(int(part) for part in version.split("."))


def all_versions() -> list[str]:
    """Every full version on offer, oldest first."""
    return [f"{version.minor}.{patch}" for version in VERSIONS for patch in version.patches]


def unsupported(version: str, *, location: str, pool: str = "") -> ArmError:
    code = "AgentPoolK8sVersionNotSupported" if pool else "K8sVersionNotSupported"
    subject = f"Agent pool {pool} is" if pool else "Managed cluster is"
    return bad_request(
        code,
        f"{subject} on version {version}, which is not supported in this region. Please use "
        f"[az aks get-versions -l {location}] command to get the supported version list in this region. "
        f"Offered are {', '.join(known.minor for known in VERSIONS)} and their patches. "
        "For more information, please check https://aka.ms/supported-version-list",
    )


def pool_upgrades(version: str, cluster_version: str) -> list[str]:
    """Where a pool may go: anything newer up to its control plane."""
    return [
        offered
        for offered in all_versions()
        if version_key(version) < version_key(offered) <= version_key(cluster_version)
    ]


def check_cluster_upgrade(current: str, wanted: str) -> None:
    if version_key(wanted) == version_key(current):
        return
    if wanted not in available_upgrades(current):
        offers = ", ".join(available_upgrades(current)) or "none"
        raise not_allowed(
            f"Upgrading Kubernetes version {current} to {wanted} is not allowed. Available upgrades: [{offers}]. Please see "
            "https://aka.ms/aks-supported-k8s-ver for version details."
        )


def check_pool_version(pool: str, current: str, wanted: str, cluster_version: str) -> None:
    """`current` is empty for a new pool; `cluster_version` is what the control plane has or is going to."""
    if current and version_key(wanted) < version_key(current):
        raise not_allowed(
            f"Downgrading agent pool {pool} from Kubernetes version {current} to {wanted} is not allowed. Please see "
            "https://aka.ms/aks-supported-k8s-ver for version details."
        )
    bigger = version_key(wanted) > version_key(cluster_version)
    if bigger or minor_of(cluster_version) - minor_of(wanted) > MINORS_BEHIND:
        problem = (
            f"Node pool version {wanted} is bigger than control plane version {cluster_version}."
            if bigger
            else f"Control plane version {cluster_version} is more than {MINORS_BEHIND} minor versions bigger than node pool "
            f"version {wanted}."
        )
        raise bad_request(
            "NodePoolMcVersionIncompatible",
            f"Node pool version {wanted} and control plane version {cluster_version} are incompatible. {problem} "
            "For more information, please check https://aka.ms/aks/version-skew-policy",
            target=f"agentPoolProfile[{pool}].orchestratorVersion",
        )


def kubernetes_versions() -> Json:
    """The versions of a location, as `az aks get-versions` reads them."""
    values = []
    for version in VERSIONS:
        patches = {
            f"{version.minor}.{patch}": {"upgrades": available_upgrades(f"{version.minor}.{patch}")}
            for patch in version.patches
        }
        values.append(
            {
                "version": version.minor,
                "capabilities": {"supportPlan": ["KubernetesOfficial"]},
                "isDefault": version.minor == DEFAULT_VERSION,
                "isPreview": False,
                "patchVersions": patches,
            }
        )
    return {"values": values}


def orchestrators(scope: str) -> Json:
    """The versions in the form of api-version 2019-08-01, which Terraform's data source still reads."""
    return {
        "id": f"{scope}/orchestrators",
        "name": "default",
        "type": "Microsoft.ContainerService/locations/orchestrators",
        "properties": {
            "orchestrators": [
                {
                    "orchestratorType": "Kubernetes",
                    "orchestratorVersion": version,
                    "default": version.rpartition(".")[0] == DEFAULT_VERSION,
                    "upgrades": [
                        {"orchestratorType": "Kubernetes", "orchestratorVersion": offered}
                        for offered in available_upgrades(version)
                    ],
                }
                for version in all_versions()
            ]
        },
    }


def cluster_upgrade_profile(document: Json, current: str) -> Json:
    """`az aks get-upgrades`. `current`: what the control plane runs."""
    pools = [
        {
            "name": pool["name"],
            "kubernetesVersion": pool[KEPT]["version"],
            "osType": pool["osType"],
            "upgrades": _offers(pool_upgrades(pool[KEPT]["version"], current)),
        }
        for pool in document["properties"]["agentPoolProfiles"]
    ]
    return {
        "id": f"{document['id']}/upgradeprofiles/default",
        "name": "default",
        "type": "Microsoft.ContainerService/managedClusters/upgradeprofiles",
        "properties": {
            "controlPlaneProfile": {
                "name": "master",
                "kubernetesVersion": current,
                "osType": "Linux",
                "upgrades": _offers(available_upgrades(current)),
            },
            "agentPoolProfiles": pools,
        },
    }


def pool_upgrade_profile(document: Json, pool: Json, current: str, latest_image: str) -> Json:
    """`az aks nodepool get-upgrades`. `current`: what the control plane runs."""
    version = pool[KEPT]["version"]
    return {
        "id": f"{document['id']}/agentPools/{pool['name']}/upgradeProfiles/default",
        "name": "default",
        "type": "Microsoft.ContainerService/managedClusters/agentPools/upgradeProfiles",
        "properties": {
            "kubernetesVersion": version,
            "osType": pool["osType"],
            "latestNodeImageVersion": latest_image,
            "upgrades": _offers(pool_upgrades(version, current)),
        },
    }


def available_pool_versions(document: Json, current: str) -> Json:
    """The versions a new pool may have."""
    fitting = [
        version
        for version in all_versions()
        if version_key(version) <= version_key(current) and minor_of(current) - minor_of(version) <= MINORS_BEHIND
    ]
    return {
        "id": f"{document['id']}/availableAgentPoolVersions",
        "name": "default",
        "type": "Microsoft.ContainerService/managedClusters/availableAgentPoolVersions",
        "properties": {
            "agentPoolVersions": [
                {"kubernetesVersion": version, "default": version == current, "isPreview": False} for version in fitting
            ]
        },
    }


def _offers(versions: list[str]) -> list[Json]:
    return [{"kubernetesVersion": version, "isPreview": False} for version in versions]
