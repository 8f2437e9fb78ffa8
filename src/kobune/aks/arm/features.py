"""What clients may ask of a cluster or a pool beside the basics: with effect, accepted without one, or refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kobune.aks.arm.errors import not_supported
from kobune.api.errors import Json


@dataclass(frozen=True, slots=True)
class Refused:
    """A wish that would change what the user gets, and that this service cannot fulfil."""

    path: str  # In the resource's properties, by dots.
    when: Callable[[Any], bool]
    feature: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Kept and shown again, and nothing else."""

    path: str
    why: str


def _present(value: Any) -> bool:
    return bool(value)


def _enabled(value: Any) -> bool:
    return isinstance(value, dict) and value.get("enabled") is True


CLUSTER_REFUSED: tuple[Refused, ...] = (
    Refused("nodeProvisioningProfile.mode", lambda mode: mode == "Auto", "Node auto-provisioning"),
    Refused("httpProxyConfig", _present, "An HTTP proxy for nodes"),
    Refused("serviceMeshProfile.mode", lambda mode: mode == "Istio", "The Istio service mesh add-on"),
    Refused("networkProfile.ipFamilies", lambda families: "IPv6" in families, "IPv6"),
    Refused("networkProfile.networkPlugin", lambda plugin: plugin == "none", "Bringing one's own CNI plugin"),
    Refused("networkProfile.serviceCidr", lambda cidr: cidr != "10.0.0.0/16", "A service range other than 10.0.0.0/16"),
    Refused("networkProfile.dnsServiceIP", lambda ip: ip != "10.0.0.10", "A DNS service address other than 10.0.0.10"),
    Refused("aiToolchainOperatorProfile", _enabled, "The AI toolchain operator"),
    Refused("ingressProfile.webAppRouting", _enabled, "The application routing add-on"),
    Refused("workloadAutoScalerProfile.keda", _enabled, "The KEDA add-on"),
    Refused("workloadAutoScalerProfile.verticalPodAutoscaler", _enabled, "The vertical pod autoscaler"),
    Refused("securityProfile.azureKeyVaultKms", _enabled, "Encryption with keys of a key vault"),
    Refused("hostedSystemProfile", _enabled, "A hosted system pool"),
)  # fmt: skip
POOL_REFUSED: tuple[Refused, ...] = (
    Refused("gpuInstanceProfile", _present, "Splitting GPUs"),
    Refused("capacityReservationGroupID", _present, "A capacity reservation group"),
    Refused("hostGroupID", _present, "A dedicated host group"),
    Refused("creationData", _present, "A pool from a snapshot"),
    Refused("workloadRuntime", lambda runtime: runtime != "OCIContainer", "A workload runtime other than OCIContainer"),
    Refused("virtualMachinesProfile", _present, "A pool of single virtual machines"),
    Refused("kubeletConfig", _present, "A kubelet configuration of one's own"),
    Refused("linuxOSConfig", _present, "An operating system configuration of one's own"),
)  # fmt: skip
ACCEPTED: tuple[Accepted, ...] = (
    Accepted("addonProfiles", "add-ons are recorded; none is installed"),
    Accepted("linuxProfile, windowsProfile", "nobody logs into a node"),
    Accepted("identity, identityProfile, servicePrincipalProfile", "shown in their shapes; nodes call no Azure API"),
    Accepted("networkProfile.networkPlugin, podCidr, outboundType, loadBalancerProfile",
             "nodes are joined by routes; the plugin decides the default of maxPods"),
    Accepted("networkProfile.networkDataplane", "recorded; the same rules of the kernel enforce every kind of network policy"),
    Accepted("oidcIssuerProfile, securityProfile, podIdentityProfile", "recorded"),
    Accepted("storageProfile, metricsProfile, azureMonitorProfile, bootstrapProfile", "recorded"),
    Accepted("autoUpgradeProfile.nodeOSUpgradeChannel: Unmanaged", "nothing patches a node's packages in place"),
    Accepted("supportPlan", "goes with the tier"),
    Accepted("osDiskType, kubeletDiskType", "recorded"),
    Accepted("enableNodePublicIP, nodePublicIPPrefixID, vnetSubnetID, podSubnetID", "recorded"),
    Accepted("enableEncryptionAtHost, enableUltraSSD, enableFIPS, proximityPlacementGroupID", "recorded"),
)  # fmt: skip


def check_features(properties: Json, refused: tuple[Refused, ...]) -> None:
    """Raise ArmError when the properties, as sent, ask for what there is not."""
    for rule in refused:
        value: Any = properties
        for part in rule.path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value not in (None, "") and rule.when(value):
            raise not_supported(rule.feature, target=f"properties.{rule.path}")
