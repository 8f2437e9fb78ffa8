"""Azure's roles: which actions of ARM, and which actions inside a cluster, each allows.

Source: Azure's page on built-in roles; the naming of actions inside clusters is that of AKS's authorization webhook.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kobune.api.errors import Json

CLUSTERS = "Microsoft.ContainerService/managedClusters"


@dataclass(frozen=True, slots=True)
class Role:
    """A role definition. Actions are patterns in which `*` stands for anything."""

    name: str
    id: str  # GUID.
    description: str
    actions: Sequence[str] = ()
    not_actions: Sequence[str] = ()
    data_actions: Sequence[str] = ()
    not_data_actions: Sequence[str] = ()

    def allows(self, action: str) -> bool:
        """Whether it allows an action of ARM, "Microsoft.ContainerService/managedClusters/write"."""
        return _any(self.actions, action) and not _any(self.not_actions, action)

    def allows_data(self, action: str) -> bool:
        """Whether it allows an action inside a cluster, "Microsoft.ContainerService/managedClusters/pods/read"."""
        return _any(self.data_actions, action) and not _any(self.not_data_actions, action)

    @property
    def permissions(self) -> Json:
        """As a role definition shows them."""
        return {
            "actions": [*self.actions],
            "notActions": [*self.not_actions],
            "dataActions": [*self.data_actions],
            "notDataActions": [*self.not_data_actions],
        }


def custom_role(name: str, role_id: str, description: str, permissions: Iterable[Json]) -> Role:
    """The role of a definition's `permissions`, its entries taken together."""

    def joined(field: str) -> tuple[str, ...]:
        return tuple(str(action) for entry in permissions for action in entry.get(field) or ())

    permissions = tuple(permissions)
    lists = (joined(field) for field in ("actions", "notActions", "dataActions", "notDataActions"))
    return Role(name, role_id, description, *lists)


def kubernetes_action(verb: str, group: str, resource: str, subresource: str) -> str:
    """What a request for a resource is called among a role's data actions."""
    if resource == "pods" and subresource == "exec":
        return f"{CLUSTERS}/pods/exec/action"
    return "/".join(part for part in (CLUSTERS, group, resource, _VERBS.get(verb, f"{verb}/action")) if part)


def path_action(verb: str, path: str) -> str:
    """The same of a request for a path that is no resource."""
    return f"{CLUSTERS}/{path.strip('/')}/{_VERBS.get(verb, f'{verb}/action')}"


_VERBS = {
    "get": "read", "list": "read", "watch": "read", "head": "read",
    "create": "write", "update": "write", "patch": "write", "post": "write", "put": "write",
    "delete": "delete", "deletecollection": "delete",
}  # fmt: skip


def _any(patterns: Sequence[str], action: str) -> bool:
    return any(_pattern(pattern).fullmatch(action) for pattern in patterns)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE)


def _inside(*names: str) -> tuple[str, ...]:
    return tuple(f"{CLUSTERS}/{name}" for name in names)


# What everybody with a role inside clusters may read of ARM.
_FINDING = (
    "Microsoft.Authorization/*/read",
    "Microsoft.Resources/subscriptions/operationresults/read",
    "Microsoft.Resources/subscriptions/read",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
)
_READ_ONLY = (
    "apps/controllerrevisions", "discovery.k8s.io/endpointslices", "events.k8s.io/events", "limitranges",
    "metrics.k8s.io/pods", "metrics.k8s.io/nodes", "namespaces", "resourcequotas",
)  # fmt: skip
_WORKLOADS = (
    "apps/daemonsets", "apps/deployments", "apps/replicasets", "apps/statefulsets", "autoscaling/horizontalpodautoscalers",
    "batch/cronjobs", "batch/jobs", "configmaps", "endpoints", "events", "networking.k8s.io/ingresses",
    "networking.k8s.io/networkpolicies", "persistentvolumeclaims", "pods", "policy/poddisruptionbudgets",
    "replicationcontrollers", "serviceaccounts", "services",
)  # fmt: skip

OWNER = "Owner"
BUILT_IN: tuple[Role, ...] = (
    Role(OWNER, "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Everything, access of others included.", ("*",)),
    Role(
        "Contributor", "b24988ac-6180-42a0-ab88-20f7382dd24c", "Everything but the access of others.", ("*",),
        ("Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"),
    ),
    Role("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", "Look, and change nothing.", ("*/read",)),
    Role(
        "User Access Administrator", "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", "The access of others.",
        ("*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"),
    ),
    Role(
        "Role Based Access Control Administrator", "f58310d9-a9f6-439a-9e8d-f62e7b41a168", "Role assignments.",
        ("Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete", "*/read",
         "Microsoft.Support/*"),
    ),
    Role(
        "AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d", "Pull images from a registry.",
        ("Microsoft.ContainerRegistry/registries/pull/read",),
    ),
    Role(
        "Network Contributor", "4d97b98b-1d4f-4787-a291-c67834d212e7", "Networks.",
        ("Microsoft.Authorization/*/read", "Microsoft.Network/*", "Microsoft.Resources/subscriptions/resourceGroups/read"),
    ),
    Role(
        "Managed Identity Operator", "f1a07417-d97a-45cb-824c-7a7467783830", "Give user-assigned identities to resources.",
        ("Microsoft.ManagedIdentity/userAssignedIdentities/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
         "Microsoft.Authorization/*/read", "Microsoft.Resources/subscriptions/resourceGroups/read"),
    ),
    Role(
        "Azure Kubernetes Service Cluster Admin Role", "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8", "The administrator's kubeconfig.",
        _inside("listClusterAdminCredential/action", "accessProfiles/listCredential/action", "read", "runCommand/action"),
    ),
    Role(
        "Azure Kubernetes Service Cluster User Role", "4abbcc35-e782-43d8-92c5-2d3f1bd2253f", "The user's kubeconfig.",
        _inside("listClusterUserCredential/action", "read"),
    ),
    Role(
        "Azure Kubernetes Service Cluster Monitoring User", "1afdec4b-e479-420e-99e7-f82237c7c5e6",
        "The monitoring user's kubeconfig.", _inside("listClusterMonitoringUserCredential/action", "read"),
    ),
    Role(
        "Azure Kubernetes Service Contributor Role", "ed7f3fbd-7b88-4dd4-9017-9adb7ce333f8", "Clusters.",
        (*_inside("read", "write"), "Microsoft.Resources/deployments/*"),
    ),
    Role(
        "Azure Kubernetes Service RBAC Cluster Admin", "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b", "Everything inside a cluster.",
        (*_FINDING, *_inside("listClusterUserCredential/action")), (), _inside("*"),
    ),
    Role(
        "Azure Kubernetes Service RBAC Admin", "3498e952-d568-435e-9b2c-8d77e338d7f7",
        "Everything inside a cluster or namespace but quotas and namespaces themselves.",
        (*_FINDING, *_inside("listClusterUserCredential/action")), (), _inside("*"),
        _inside("resourcequotas/write", "resourcequotas/delete", "namespaces/write", "namespaces/delete"),
    ),
    Role(
        "Azure Kubernetes Service RBAC Writer", "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb",
        "Most objects of a namespace, Secrets included; no roles.", _FINDING, (),
        _inside(*(f"{name}/read" for name in _READ_ONLY), *(f"{name}/*" for name in _WORKLOADS), "secrets/*",
                *(f"coordination.k8s.io/leases/{verb}" for verb in ("read", "write", "delete"))),
    ),
    Role(
        "Azure Kubernetes Service RBAC Reader", "7f6c6a51-bcf8-42ba-9220-52d62157d7db",
        "Look at most objects of a namespace; neither roles nor Secrets.", _FINDING, (),
        _inside(*(f"{name}/read" for name in (*_READ_ONLY, *_WORKLOADS))),
    ),
)  # fmt: skip
