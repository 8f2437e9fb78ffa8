"""Which plugins there are, in upstream's order."""

from collections.abc import Collection

from kobune.api.features import GENERIC_WORKLOAD
from kobune.controlplane.apiserver.admission.always import AlwaysAdmit, AlwaysDeny
from kobune.controlplane.apiserver.admission.always_pull_images import AlwaysPullImages
from kobune.controlplane.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    ClusterTrustBundleAttest,
)
from kobune.controlplane.apiserver.admission.chain import Plugin
from kobune.controlplane.apiserver.admission.configuration import AS_USUAL, AdmissionSettings
from kobune.controlplane.apiserver.admission.default_class import DefaultIngressClass, DefaultStorageClass
from kobune.controlplane.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from kobune.controlplane.apiserver.admission.deny_service_external_ips import DenyServiceExternalIPs
from kobune.controlplane.apiserver.admission.event_rate_limit import EventRateLimit
from kobune.controlplane.apiserver.admission.extended_resource_toleration import ExtendedResourceToleration
from kobune.controlplane.apiserver.admission.image_policy_webhook import ImagePolicyWebhook
from kobune.controlplane.apiserver.admission.job_validation import JobValidation
from kobune.controlplane.apiserver.admission.limit_ranger import LimitRanger
from kobune.controlplane.apiserver.admission.mutating_admission_policy import MutatingAdmissionPolicy
from kobune.controlplane.apiserver.admission.mutating_admission_webhook import MutatingAdmissionWebhook
from kobune.controlplane.apiserver.admission.namespace_auto_provision import NamespaceAutoProvision
from kobune.controlplane.apiserver.admission.namespace_exists import NamespaceExists
from kobune.controlplane.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kobune.controlplane.apiserver.admission.node_restriction import NodeRestriction
from kobune.controlplane.apiserver.admission.owner_references_permission_enforcement import (
    OwnerReferencesPermissionEnforcement,
)
from kobune.controlplane.apiserver.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from kobune.controlplane.apiserver.admission.pod_anti_affinity_topology import LimitPodHardAntiAffinityTopology
from kobune.controlplane.apiserver.admission.pod_group_protection import PodGroupProtection
from kobune.controlplane.apiserver.admission.pod_group_workload_exists import PodGroupWorkloadExists
from kobune.controlplane.apiserver.admission.pod_node_selector import PodNodeSelector
from kobune.controlplane.apiserver.admission.pod_node_validators import NodeDeclaredFeatureValidator, PodResizeValidator
from kobune.controlplane.apiserver.admission.pod_security import PodSecurity
from kobune.controlplane.apiserver.admission.pod_toleration_restriction import PodTolerationRestriction
from kobune.controlplane.apiserver.admission.pod_topology_labels import PodTopologyLabels
from kobune.controlplane.apiserver.admission.priority import Priority
from kobune.controlplane.apiserver.admission.resource_quota import ResourceQuota
from kobune.controlplane.apiserver.admission.runtime_class import RuntimeClass
from kobune.controlplane.apiserver.admission.service_account import ServiceAccount
from kobune.controlplane.apiserver.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from kobune.controlplane.apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from kobune.controlplane.apiserver.admission.validating_admission_policy import ValidatingAdmissionPolicy
from kobune.controlplane.apiserver.admission.validating_admission_webhook import ValidatingAdmissionWebhook
from kobune.controlplane.apiserver.admission.webhooks.client import WebhookClient
from kobune.controlplane.apiserver.authorization.authorizer import Authorization
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.reviewer import Ask, Reviewers

# What upstream has switched off unless it is asked for.
OFF_BY_DEFAULT = (
    "AlwaysAdmit", "NamespaceAutoProvision", "NamespaceExists", "LimitPodHardAntiAffinityTopology", "AlwaysPullImages",
    "ImagePolicyWebhook", "PodNodeSelector", "PodTolerationRestriction", "EventRateLimit", "ExtendedResourceToleration",
    "OwnerReferencesPermissionEnforcement", "DenyServiceExternalIPs", "AlwaysDeny",
)  # fmt: skip
# The versions whose features these belong to are on by default.
SINCE = {
    PodTopologyLabels.name: (1, 35), NodeDeclaredFeatureValidator.name: (1, 36), PodResizeValidator.name: (1, 36),
}  # fmt: skip


def make_plugins(
    registry: Registry,
    webhooks: WebhookClient,
    authorization: Authorization,
    *,
    disabled: Collection[str] = (),
    enabled: Collection[str] = (),
    settings: AdmissionSettings = AS_USUAL,
    image_review: Ask | None = None,
) -> list[Plugin]:
    """Those that are on by default and not disabled, and those that are enabled.

    Args:
        image_review: the server that judges images.
    Raises:
        ValueError: an unknown name, or a plugin that cannot be without the configuration that it has not.
    """
    policies = MutatingAdmissionPolicy(registry)
    plugins: tuple[Plugin, ...] = (
        AlwaysAdmit(),
        NamespaceAutoProvision(registry),
        NamespaceLifecycle(registry),
        NamespaceExists(registry),
        LimitPodHardAntiAffinityTopology(),
        LimitRanger(registry),
        ServiceAccount(registry),
        NodeRestriction(registry, authorization),
        TaintNodesByCondition(registry),
        AlwaysPullImages(),
        ImagePolicyWebhook(settings.image_policy, image_review, registry.clock),
        PodSecurity(registry, settings.pod_security),
        PodNodeSelector(registry, settings.node_selectors),
        Priority(registry),
        DefaultTolerationSeconds(registry),
        PodTolerationRestriction(registry, settings.tolerations),
        EventRateLimit(registry.clock, settings.event_limits),
        ExtendedResourceToleration(),
        DefaultStorageClass(registry),
        StorageObjectInUseProtection(registry),
        PodGroupProtection(registry),
        OwnerReferencesPermissionEnforcement(registry, authorization),
        PersistentVolumeClaimResize(registry),
        RuntimeClass(registry),
        CertificateApproval(authorization),
        CertificateSigning(authorization),
        ClusterTrustBundleAttest(authorization),
        CertificateSubjectRestriction(),
        DefaultIngressClass(registry),
        DenyServiceExternalIPs(),
        PodTopologyLabels(registry),
        PodGroupWorkloadExists(registry),
        NodeDeclaredFeatureValidator(registry),
        JobValidation(registry),
        PodResizeValidator(registry),
        policies,
        MutatingAdmissionWebhook(registry, webhooks, settings.mutating_users, then=policies.again),
        ValidatingAdmissionPolicy(registry),
        ValidatingAdmissionWebhook(registry, webhooks, settings.validating_users),
        ResourceQuota(registry, settings.limited_resources),
        AlwaysDeny(),
    )
    unknown = {*disabled, *enabled} - {plugin.name for plugin in plugins}
    if unknown:
        raise ValueError(f"no such admission plugin: {', '.join(sorted(unknown))}")
    if EventRateLimit.name in enabled and not settings.event_limits:
        raise ValueError(f"{EventRateLimit.name}: limits: Invalid value: null: must not be empty")
    if ImagePolicyWebhook.name in enabled and image_review is None:
        raise ValueError(f"{ImagePolicyWebhook.name}: no config specified")
    off = {*OFF_BY_DEFAULT, *disabled} - set(enabled)
    version = tuple(map(int, registry.version.split(".")))
    off |= {name for name, since in SINCE.items() if version < since}
    if GENERIC_WORKLOAD not in registry.features:
        off |= {PodGroupProtection.name, PodGroupWorkloadExists.name, JobValidation.name}
    return [plugin for plugin in plugins if plugin.name not in off]


def image_review(settings: AdmissionSettings, enabled: Collection[str], reviewers: Reviewers) -> Ask | None:
    """The server that judges images, where one is to."""
    policy = settings.image_policy
    if policy is None or ImagePolicyWebhook.name not in enabled:
        return None
    return reviewers.open(policy.kubeconfig, first_seconds=policy.retry_seconds)
