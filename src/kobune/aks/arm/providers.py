"""Resource providers: what is served of each, and which are registered.

Source: REST reference of Azure Resource Manager, api-version 2022-12-01.
"""

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.locations import LOCATIONS
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.service import CLUSTERS, ArmService
from kobune.api.errors import Json

# Namespace and the resource types that are served.
PROVIDERS: dict[str, tuple[str, ...]] = {
    "Microsoft.Authorization": ("roleAssignments", "roleDefinitions"),
    "Microsoft.Compute": (
        "skus", "locations", "locations/vmSizes", "locations/usages", "virtualMachineScaleSets", "virtualMachineScaleSets/virtualMachines",
    ),
    "Microsoft.ContainerService": (
        "managedClusters", "managedClusters/agentPools", "managedClusters/maintenanceConfigurations", "locations",
        "locations/kubernetesVersions", "locations/operations", "locations/operationresults", "locations/orchestrators",
    ),
    "Microsoft.Insights": ("diagnosticSettings", "diagnosticSettingsCategories"),
    "Microsoft.ManagedIdentity": ("userAssignedIdentities",),
    "Microsoft.OperationalInsights": ("workspaces",),
    "Microsoft.Resources": ("resourceGroups", "subscriptions", "tenants"),
}  # fmt: skip
API_VERSIONS = {
    "Microsoft.ContainerService": ["2026-08-01", "2026-06-01", "2026-01-01", "2025-10-01", "2025-05-01", "2024-09-01"]
}


def list_all(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, {"value": [_provider(service, name) for name in PROVIDERS]})


def get(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, _provider(service, _namespace(request)))


def register(service: ArmService, request: ArmRequest) -> ArmAnswer:
    name = _namespace(request)
    service.store.set(f"unregistered {name}", "")
    return ArmAnswer(200, _provider(service, name))


def unregister(service: ArmService, request: ArmRequest) -> ArmAnswer:
    name = _namespace(request)
    if name == "Microsoft.ContainerService" and service.store.list(CLUSTERS, service.scope):
        raise ArmError(
            409,
            "CannotUnregisterNamespaceWithResources",
            f"The namespace '{name}' still has resources in the subscription.",
        )
    service.store.set(f"unregistered {name}", "yes")
    return ArmAnswer(200, _provider(service, name))


def check_registered(service: ArmService, namespace: str) -> None:
    """Raise ArmError when the subscription has unregistered the provider."""
    if service.store.setting(f"unregistered {namespace}"):
        raise ArmError(
            409,
            "MissingSubscriptionRegistration",
            f"The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to "
            "register subscriptions.",
            target=namespace,
        )


def _namespace(request: ArmRequest) -> str:
    wanted = request.parameters["namespace"]
    name = next((known for known in PROVIDERS if known.lower() == wanted.lower()), None)
    if name is None:
        raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{wanted}' is invalid.")
    return name


def _provider(service: ArmService, name: str) -> Json:
    versions = API_VERSIONS.get(name, ["2024-11-01", "2022-04-01"])
    registered = not service.store.setting(f"unregistered {name}")
    shown = [location for location, _ in LOCATIONS.values()]
    return {
        "id": f"{service.scope}/providers/{name}",
        "namespace": name,
        "registrationState": "Registered" if registered else "NotRegistered",
        "registrationPolicy": "RegistrationRequired",
        "resourceTypes": [
            {
                "resourceType": type_,
                "locations": shown,
                "apiVersions": versions,
                "defaultApiVersion": versions[0],
                "capabilities": "None",
            }
            for type_ in PROVIDERS[name]
        ],
    }
