"""The operations of the front end: one row each. Routing and the table in docs/azure.md read these rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kobune.aks.arm import (
    activity,
    authorization,
    clusters,
    compute,
    credentials,
    diagnostics,
    groups,
    maintenance,
    operations,
    pools,
    providers,
    resources,
    run_command,
    scale_sets,
    upgrades,
)
from kobune.aks.arm.errors import not_supported
from kobune.aks.arm.locations import check_location
from kobune.aks.arm.request import ArmAnswer, ArmRequest, normal_location
from kobune.aks.arm.service import ArmService

Handler = Callable[[ArmService, ArmRequest], ArmAnswer]


class Effect(StrEnum):
    """What a call does."""

    FULL = "effect"
    ACCEPTED = "accepted without effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call."""

    method: str
    path: str  # `{name}` is a variable segment; a first `**` stands for any scope.
    title: str
    handler: Handler
    effect: Effect = Effect.FULL
    note: str = ""
    versioned: bool = True  # Whether the api-version must be given.
    action: str = ""  # What a role must allow; empty: what the path says.
    authorized: bool = True  # Whether a role must allow it at all.

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))


class Match(NamedTuple):
    operation: Operation
    parameters: Mapping[str, str]


S = "/subscriptions/{subscription}"
G = S + "/resourceGroups/{group}"
RP = "/providers/Microsoft.ContainerService"
C = G + RP + "/managedClusters/{cluster}"
P = C + "/agentPools/{pool}"
L = S + RP + "/locations/{location}"
COMPUTE = S + "/providers/Microsoft.Compute"
AUTH = "/**/providers/Microsoft.Authorization"
W = G + "/providers/Microsoft.OperationalInsights/workspaces"
DS = C + "/providers/Microsoft.Insights/diagnosticSettings"
QUERY = "Microsoft.OperationalInsights/workspaces/query/read"
VMSS = G + "/providers/Microsoft.Compute/virtualMachineScaleSets"
MI = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"


def _versions(service: ArmService, request: ArmRequest) -> ArmAnswer:
    check_location(normal_location(request.parameters["location"]), "locations/kubernetesVersions")
    return ArmAnswer(200, upgrades.kubernetes_versions())


def _orchestrators(service: ArmService, request: ArmRequest) -> ArmAnswer:
    location = normal_location(request.parameters["location"])
    check_location(location, "locations/orchestrators")
    return ArmAnswer(
        200, upgrades.orchestrators(f"{service.scope}/providers/Microsoft.ContainerService/locations/{location}")
    )


def _refuse(feature: str) -> Handler:
    def handler(service: ArmService, request: ArmRequest) -> ArmAnswer:
        raise not_supported(feature)

    return handler


ACCEPTED, REFUSED = Effect.ACCEPTED, Effect.REFUSED
OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/subscriptions", "List subscriptions", groups.subscriptions, authorized=False),
    Operation("GET", S, "Get the subscription", groups.subscription),
    Operation("GET", "/tenants", "List tenants", groups.tenants, authorized=False),
    Operation("GET", S + "/locations", "List locations", groups.locations),
    Operation("GET", S + "/operationresults/{operation}", "Get the result of a group's deletion", groups.group_deletion,
              authorized=False),
    Operation("GET", S + "/resourceGroups", "List resource groups", groups.list_groups),
    Operation("PUT", G, "Create or update a resource group", groups.put_group),
    Operation("GET", G, "Get a resource group", groups.get_group),
    Operation("HEAD", G, "Whether a resource group exists", groups.group_exists),
    Operation("PATCH", G, "Change a resource group's tags", groups.patch_group),
    Operation("DELETE", G, "Delete a resource group with its clusters", groups.delete_group),
    Operation("GET", G + "/resources", "List a group's resources", resources.list_all),
    Operation("GET", S + "/resources", "List the subscription's resources", resources.list_all),
    Operation("GET", S + "/providers", "List providers", providers.list_all),
    Operation("GET", S + "/providers/{namespace}", "Get a provider", providers.get),
    Operation("POST", S + "/providers/{namespace}/register", "Register a provider", providers.register),
    Operation("POST", S + "/providers/{namespace}/unregister", "Unregister a provider", providers.unregister),
    Operation("GET", COMPUTE + "/skus", "List VM SKUs", compute.list_skus),
    Operation("GET", COMPUTE + "/locations/{location}/vmSizes", "List VM sizes", compute.list_sizes),
    Operation("GET", COMPUTE + "/locations/{location}/usages", "List cores in use, and the quotas", compute.list_usages),
    Operation("GET", VMSS, "List the scale sets of a node resource group", scale_sets.list_sets),
    Operation("GET", VMSS + "/{scaleSet}", "Get a scale set", scale_sets.get_set),
    Operation("GET", VMSS + "/{scaleSet}/virtualMachines", "List a scale set's machines", scale_sets.list_machines),
    Operation("GET", VMSS + "/{scaleSet}/virtualMachines/{instance}", "Get a scale set's machine", scale_sets.get_machine),
    Operation("POST", VMSS + "/{scaleSet}/virtualMachines/{instance}/simulateEviction", "Take a spot machine back",
              scale_sets.simulate_eviction),
    Operation("GET", AUTH + "/roleDefinitions", "List role definitions", authorization.list_definitions),
    Operation("GET", AUTH + "/roleDefinitions/{role}", "Get a role definition", authorization.get_definition),
    Operation("PUT", AUTH + "/roleDefinitions/{role}", "Create or change a custom role", authorization.put_definition),
    Operation("DELETE", AUTH + "/roleDefinitions/{role}", "Delete a custom role", authorization.delete_definition),
    Operation("GET", AUTH + "/roleAssignments", "List role assignments", authorization.list_assignments),
    Operation("PUT", AUTH + "/roleAssignments/{assignment}", "Create a role assignment", authorization.put_assignment),
    Operation("GET", AUTH + "/roleAssignments/{assignment}", "Get a role assignment", authorization.get_assignment),
    Operation("DELETE", AUTH + "/roleAssignments/{assignment}", "Delete a role assignment", authorization.delete_assignment),
    Operation("GET", S + MI, "List identities", authorization.identities.list),
    Operation("GET", G + MI, "List a group's identities", authorization.identities.list),
    Operation("PUT", G + MI + "/{identity}", "Create an identity", authorization.put_identity),
    Operation("GET", G + MI + "/{identity}", "Get an identity", authorization.identities.get),
    Operation("DELETE", G + MI + "/{identity}", "Delete an identity", authorization.identities.delete),
    Operation("GET", L + "/operations/{operation}", "Get an operation", operations.get_status, authorized=False),
    Operation("GET", L + "/operationresults/{operation}", "Get an operation's result", operations.get_result, authorized=False),
    Operation("GET", L + "/kubernetesVersions", "List Kubernetes versions", _versions),
    Operation("GET", L + "/orchestrators", "List Kubernetes versions, as of 2019-08-01", _orchestrators),
    Operation("GET", L + "/trustedAccessRoles", "List trusted access roles", credentials.empty_global_list, note="none"),
    Operation("GET", S + RP + "/managedClusters", "List clusters", clusters.list_all),
    Operation("GET", G + RP + "/managedClusters", "List a group's clusters", clusters.list_in_group),
    Operation("PUT", C, "Create or update a cluster", clusters.put),
    Operation("GET", C, "Get a cluster", clusters.get),
    Operation("PATCH", C, "Change a cluster's tags", clusters.patch_tags),
    Operation("DELETE", C, "Delete a cluster", clusters.delete),
    Operation("POST", C + "/stop", "Stop a cluster", clusters.stop),
    Operation("POST", C + "/start", "Start a cluster", clusters.start),
    Operation("POST", C + "/abort", "Abort a cluster's operation", clusters.abort_cluster),
    Operation("POST", C + "/rotateClusterCertificates", "Rotate certificates", clusters.rotate_certificates),
    Operation("POST", C + "/rotateServiceAccountSigningKeys", "Rotate the ServiceAccount keys", clusters.rotate_keys),
    Operation("POST", C + "/listClusterAdminCredential", "Get the administrator's kubeconfig", credentials.admin_credential),
    Operation("POST", C + "/listClusterUserCredential", "Get the user's kubeconfig", credentials.user_credential),
    Operation("POST", C + "/listClusterMonitoringUserCredential", "Get the monitoring user's kubeconfig",
              credentials.monitoring_credential),
    Operation("POST", C + "/accessProfiles/{role}/listCredential", "Get an access profile", credentials.access_profile),
    Operation("POST", C + "/resetServicePrincipalProfile", "Reset the service principal", credentials.nothing_to_reset,
              ACCEPTED, "no Azure API is called with it"),
    Operation("POST", C + "/resetAADProfile", "Reset the Entra application", credentials.nothing_to_reset, ACCEPTED),
    Operation("GET", C + "/outboundNetworkDependenciesEndpoints", "List outbound endpoints", credentials.outbound_endpoints,
              note="none"),
    Operation("POST", C + "/runCommand", "Run a command in a pod", run_command.start),
    Operation("GET", C + "/commandResults/{command}", "Get a command's result", run_command.result),
    Operation("GET", C + "/upgradeProfiles/default", "Get a cluster's upgrades", pools.cluster_profile),
    Operation("GET", C + "/availableAgentPoolVersions", "List versions for new pools", pools.available_versions),
    Operation("GET", C + "/operations/{operation}", "Get a cluster's operation, or `latest`", clusters.latest_operation),
    Operation("GET", C + "/maintenanceConfigurations", "List maintenance configurations", maintenance.list_all),
    Operation("GET", C + "/maintenanceConfigurations/{configuration}", "Get a maintenance configuration", maintenance.get),
    Operation("PUT", C + "/maintenanceConfigurations/{configuration}", "Set a maintenance configuration", maintenance.put),
    Operation("DELETE", C + "/maintenanceConfigurations/{configuration}", "Delete a maintenance configuration",
              maintenance.delete),
    Operation("GET", C + "/agentPools", "List agent pools", pools.list_all),
    Operation("PUT", P, "Create or update an agent pool", pools.put),
    Operation("GET", P, "Get an agent pool", pools.get),
    Operation("DELETE", P, "Delete an agent pool", pools.delete),
    Operation("POST", P + "/abort", "Abort an agent pool's operation", pools.abort_pool),
    Operation("POST", P + "/upgradeNodeImageVersion", "Upgrade the node image", pools.upgrade_node_image),
    Operation("POST", P + "/deleteMachines", "Delete machines", pools.delete_machines),
    Operation("GET", P + "/upgradeProfiles/default", "Get an agent pool's upgrades", pools.upgrade_profile),
    Operation("GET", P + "/operations/{operation}", "Get an agent pool's operation, or `latest`", clusters.latest_operation),
    Operation("GET", P + "/machines", "List machines", pools.list_machines),
    Operation("GET", P + "/machines/{machine}", "Get a machine", pools.get_machine),
    Operation("GET", C + "/providers/Microsoft.Insights/diagnosticSettingsCategories", "List log categories",
              diagnostics.list_categories),
    Operation("GET", DS, "List diagnostic settings", diagnostics.list_settings),
    Operation("PUT", DS + "/{setting}", "Set which logs are kept as tables", diagnostics.put_setting),
    Operation("GET", DS + "/{setting}", "Get a diagnostic setting", diagnostics.get_setting),
    Operation("DELETE", DS + "/{setting}", "Delete a diagnostic setting", diagnostics.delete_setting),
    Operation("POST", C + "/providers/Microsoft.Insights/logs", "Query a cluster's logs", diagnostics.query_cluster,
              action="Microsoft.Insights/logs/read"),
    Operation("GET", S + "/providers/Microsoft.Insights/eventtypes/management/values", "List the activity log",
              activity.list_events),
    Operation("GET", S + "/providers/Microsoft.OperationalInsights/workspaces", "List workspaces", diagnostics.workspaces.list),
    Operation("GET", W, "List a group's workspaces", diagnostics.workspaces.list),
    Operation("PUT", W + "/{workspace}", "Create a workspace", diagnostics.put_workspace),
    Operation("GET", W + "/{workspace}", "Get a workspace", diagnostics.workspaces.get),
    Operation("DELETE", W + "/{workspace}", "Delete a workspace", diagnostics.workspaces.delete),
    Operation("POST", "/v1/workspaces/{customer}/query", "Query a workspace's logs", diagnostics.query_workspace, versioned=False,
              action=QUERY),
    Operation("POST", "/loganalytics/v1/workspaces/{customer}/query", "Query a workspace's logs, at the metadata's endpoint",
              diagnostics.query_workspace, versioned=False, action=QUERY),
    Operation("GET", C + "/trustedAccessRoleBindings", "List trusted access role bindings", credentials.empty_list, note="none"),
    Operation("GET", C + "/privateEndpointConnections", "List private endpoint connections", credentials.empty_list, note="none"),
    Operation("GET", C + "/privateLinkResources", "List private link resources", credentials.empty_list, note="none"),
    Operation("GET", C + "/managedNamespaces", "List managed namespaces", credentials.empty_list, note="none"),
    Operation("GET", C + "/identityBindings", "List identity bindings", credentials.empty_list, note="none"),
    Operation("GET", C + "/meshUpgradeProfiles", "List mesh upgrade profiles", credentials.empty_list, note="none"),
    Operation("GET", L + "/meshRevisionProfiles", "List mesh revisions", credentials.empty_global_list, note="none"),
    Operation("GET", S + RP + "/snapshots", "List snapshots", credentials.empty_global_list, note="none"),
    Operation("GET", G + RP + "/snapshots", "List a group's snapshots", credentials.empty_global_list, note="none"),
    Operation("PUT", G + RP + "/snapshots/{snapshot}", "Create a snapshot", _refuse("A node pool snapshot"), REFUSED),
    Operation("PUT", C + "/trustedAccessRoleBindings/{binding}", "Bind a trusted access role", _refuse("Trusted access"), REFUSED),
    Operation("PUT", C + "/managedNamespaces/{namespace}", "Create a managed namespace", _refuse("A managed namespace"), REFUSED),
    Operation("PUT", C + "/identityBindings/{binding}", "Bind an identity", _refuse("An identity binding"), REFUSED),
    Operation("PUT", C + "/privateEndpointConnections/{connection}", "Connect a private endpoint",
              _refuse("A private endpoint"), REFUSED),
)  # fmt: skip


def find_operation(method: str, path: str, table: tuple[Operation, ...] = OPERATIONS) -> Match | None:
    """The operation of a request, whatever the casing of its path."""
    segments = [segment for segment in path.split("/") if segment]
    for operation in table:
        if operation.method == method:
            parameters = _match(operation.segments, segments)
            if parameters is not None:
                return Match(operation, parameters)
    return None


def methods_of(path: str, table: tuple[Operation, ...] = OPERATIONS) -> list[str]:
    """The methods that the path is served with."""
    segments = [segment for segment in path.split("/") if segment]
    return [operation.method for operation in table if _match(operation.segments, segments) is not None]


def _match(template: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if template[0] == "**":
        template = template[1:]
        if len(segments) < len(template):
            return None
        segments = segments[len(segments) - len(template) :]
    if len(template) != len(segments):
        return None
    parameters = {}
    for expected, found in zip(template, segments, strict=True):
        if expected.startswith("{"):
            parameters[expected[1:-1]] = found
        elif expected.lower() != found.lower():
            return None
    return parameters
