"""Which plugins there are, in upstream's order."""

from collections.abc import Collection

from kobune.controlplane.apiserver.admission.chain import Plugin
from kobune.controlplane.apiserver.admission.default_storage_class import DefaultStorageClass
from kobune.controlplane.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from kobune.controlplane.apiserver.admission.limit_ranger import LimitRanger
from kobune.controlplane.apiserver.admission.mutating_admission_webhook import MutatingAdmissionWebhook
from kobune.controlplane.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kobune.controlplane.apiserver.admission.node_restriction import NodeRestriction
from kobune.controlplane.apiserver.admission.pod_security import PodSecurity
from kobune.controlplane.apiserver.admission.priority import Priority
from kobune.controlplane.apiserver.admission.resource_quota import ResourceQuota
from kobune.controlplane.apiserver.admission.runtime_class import RuntimeClass
from kobune.controlplane.apiserver.admission.service_account import ServiceAccount
from kobune.controlplane.apiserver.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from kobune.controlplane.apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from kobune.controlplane.apiserver.admission.validating_admission_policy import ValidatingAdmissionPolicy
from kobune.controlplane.apiserver.admission.validating_admission_webhook import ValidatingAdmissionWebhook
from kobune.controlplane.apiserver.admission.webhooks.client import WebhookClient
from kobune.controlplane.apiserver.registry.registry import Registry


def make_plugins(registry: Registry, webhooks: WebhookClient, *, disabled: Collection[str]) -> list[Plugin]:
    """All plugins but the disabled ones. Raises ValueError for a name that is no plugin's."""
    plugins: tuple[Plugin, ...] = (
        NamespaceLifecycle(registry),
        LimitRanger(registry),
        ServiceAccount(registry),
        NodeRestriction(registry),
        TaintNodesByCondition(registry),
        PodSecurity(registry),
        Priority(registry),
        DefaultTolerationSeconds(registry),
        DefaultStorageClass(registry),
        StorageObjectInUseProtection(registry),
        RuntimeClass(registry),
        MutatingAdmissionWebhook(registry, webhooks),
        ValidatingAdmissionPolicy(registry),
        ValidatingAdmissionWebhook(registry, webhooks),
        ResourceQuota(registry),
    )
    unknown = set(disabled) - {plugin.name for plugin in plugins}
    if unknown:
        raise ValueError(f"no such admission plugin: {', '.join(sorted(unknown))}")
    return [plugin for plugin in plugins if plugin.name not in disabled]
