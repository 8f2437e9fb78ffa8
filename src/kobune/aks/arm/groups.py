"""Subscriptions, tenants, locations, resource groups, providers and the list of resources.

Source: REST reference of Azure Resource Manager, api-versions 2022-12-01 and 2024-11-01.
"""

import re
from dataclasses import replace

from kobune.aks.arm.clusters import start_deletion
from kobune.aks.arm.documents import KEPT
from kobune.aks.arm.errors import ArmError, bad_request
from kobune.aks.arm.filters import Fields, lets_through, parse_filter
from kobune.aks.arm.locations import LOCATIONS, check_location, render_locations
from kobune.aks.arm.operations import RETRY_AFTER_SECONDS, end
from kobune.aks.arm.request import ArmAnswer, ArmRequest, check_precondition, normal_location
from kobune.aks.arm.scale_sets import shown_sets
from kobune.aks.arm.service import CLUSTERS, GROUPS, ArmService
from kobune.aks.arm.store import Operation, Resource
from kobune.api.errors import Json

GROUP_NAME = re.compile(r"[-\w._()]{0,89}[-\w_()]")
GROUP_TYPE = "Microsoft.Resources/resourceGroups"
DELETES_GROUP = "group"  # The kind of operation that waits for a group's contents to go.
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


def subscriptions(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, {"value": [_subscription(service)], "count": {"type": "Total", "value": 1}})


def subscription(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, _subscription(service))


def tenants(service: ArmService, request: ArmRequest) -> ArmAnswer:
    tenant = service.sign_in.tenant
    return ArmAnswer(
        200,
        {
            "value": [
                {
                    "id": f"/tenants/{tenant}",
                    "tenantId": tenant,
                    "displayName": "Kobune",
                    "defaultDomain": "kobune.local",
                    "domains": ["kobune.local"],
                    "tenantCategory": "Home",
                }
            ]
        },
    )


def locations(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, {"value": render_locations(service.scope)})


def list_groups(service: ArmService, request: ArmRequest) -> ArmAnswer:
    groups = [group.document for group in service.store.list(GROUPS, service.scope)]
    groups += [_node_group(service, cluster) for cluster in service.store.list(CLUSTERS, service.scope)]
    return ArmAnswer(
        200, {"value": [group for group in groups if _matches_tag(group, request.query.get("$filter", ""))]}
    )


def get_group(service: ArmService, request: ArmRequest) -> ArmAnswer:
    name = request.parameters["group"]
    owner = service.find_node_group_owner(name)
    if owner is not None:
        return ArmAnswer(200, _node_group(service, owner))
    return ArmAnswer(200, service.get_group(name).document)


def group_exists(service: ArmService, request: ArmRequest) -> ArmAnswer:
    name = request.parameters["group"]
    there = service.find_group(name) or service.find_node_group_owner(name)
    return ArmAnswer(204 if there else 404)


def put_group(service: ArmService, request: ArmRequest) -> ArmAnswer:
    name, body = request.parameters["group"], request.json()
    _refuse_node_group(service, name)
    if not GROUP_NAME.fullmatch(name):
        raise bad_request(
            "InvalidResourceGroup",
            f"The provided resource group name '{name}' has these invalid characters or ends with a period. The name can have "
            "up to 90 letters, digits, '-', '.', '(', ')' and '_'.",
        )
    existing = service.find_group(name)
    check_precondition(request.headers, existing.etag if existing else None)
    location = normal_location(str(body.get("location") or ""))
    if not location:
        raise bad_request(
            "LocationRequired", "The location property is required for this definition.", target="location"
        )
    check_location(location, GROUP_TYPE)
    if existing is not None:
        _refuse_deleting(existing)
        if existing.document["location"] != location:
            raise ArmError(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location '{location}'. The Resource group already exists in location "
                f"'{existing.document['location']}'.",
            )
    document = {
        "id": existing.document["id"] if existing else service.group_id(name),
        "name": existing.document["name"] if existing else name,
        "type": GROUP_TYPE,
        "location": location,
        "tags": body.get("tags") or {},
        "properties": {"provisioningState": "Succeeded"},
    }
    if body.get("managedBy"):
        document["managedBy"] = body["managedBy"]
    service.save(Resource(key=service.group_id(name), type=GROUPS, document=document))
    return ArmAnswer(200 if existing else 201, document)


def patch_group(service: ArmService, request: ArmRequest) -> ArmAnswer:
    _refuse_node_group(service, request.parameters["group"])
    group = service.get_group(request.parameters["group"])
    _refuse_deleting(group)
    document = group.document | {"tags": request.json().get("tags", group.document["tags"]) or {}}
    service.save(replace(group, document=document))
    return ArmAnswer(200, document)


def delete_group(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Delete the group with everything in it; the operation ends when the last cluster is gone."""
    _refuse_node_group(service, request.parameters["group"])
    group = service.get_group(request.parameters["group"])
    waiting = [operation for operation in service.store.unfinished(group.key) if operation.kind == DELETES_GROUP]
    if waiting:
        operation = waiting[0]
    else:
        operation = Operation(
            id=service.new_id(),
            resource=group.key,
            kind=DELETES_GROUP,
            wish="",
            started=service.now(),
            caller=request.caller.name,
        )
        with service.store.transaction():
            document = group.document | {"properties": {"provisioningState": "Deleting"}}
            service.save(replace(group, document=document))
            service.store.put_operation(operation)
        follow_group_deletions(service)
    return ArmAnswer(202, None, _group_headers(service, request, operation))


def group_deletion(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Whether a group's deletion has ended."""
    operation = service.store.find_operation(request.parameters["operation"])
    if operation is None or operation.kind != DELETES_GROUP:
        raise ArmError(404, "NotFound", f"The operation '{request.parameters['operation']}' is not known.")
    if operation.ended:
        return ArmAnswer(200)
    return ArmAnswer(202, None, _group_headers(service, request, operation))


def follow_group_deletions(service: ArmService) -> None:
    """Delete what is still in groups that are to go, and the groups once they are empty."""
    for operation in service.store.unfinished():
        if operation.kind != DELETES_GROUP:
            continue
        clusters = service.store.list(CLUSTERS, operation.resource)
        for cluster in clusters:
            if not any(running.wish == "delete" for running in service.store.unfinished(cluster.key)):
                latest = service.store.latest_operation(cluster.key)
                failed = latest is not None and latest.wish == "delete" and latest.status == "Failed"
                if failed and latest is not None and latest.started > operation.started:
                    _give_up(service, operation, latest.message)
                    break
                start_deletion(service, cluster, operation.caller)
        if not clusters:
            with service.store.transaction():
                service.store.remove(operation.resource)
                end(service, operation, "Succeeded")


def list_resources(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Resources of the subscription or of a group, without their properties."""
    wanted = request.query.get("$filter", "")
    terms = [term for term in parse_filter(wanted, _RESOURCE_FIELDS) if not term.field.startswith("tag")]
    group = request.parameters.get("group")
    owner = service.find_node_group_owner(group) if group else None
    if owner is not None:
        documents = shown_sets(service, owner)
    else:
        below = service.get_group(group).key if group else service.scope
        kept = (found.document for found in service.store.list_below(below))
        documents = [document for document in kept if "location" in document and document["type"] != GROUP_TYPE]
        if not group:
            documents += [
                one for cluster in service.store.list(CLUSTERS, below) for one in shown_sets(service, cluster)
            ]
    shown = [
        {field: document[field] for field in ("id", "name", "type", "location", "tags") if field in document}
        for document in documents
        if lets_through(terms, document, _RESOURCE_FIELDS) and _matches_tag(document, wanted)
    ]
    return ArmAnswer(200, {"value": shown})


_RESOURCE_FIELDS: Fields = {
    "resourcegroup": lambda resource: resource["id"].split("/")[4],
    "resourcetype": lambda resource: resource["type"],
    "name": lambda resource: resource["name"],
    "location": lambda resource: resource["location"],
    "tagname": lambda resource: "",  # A name and its value belong together; see `_matches_tag`.
    "tagvalue": lambda resource: "",
}


def list_providers(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, {"value": [_provider(service, name) for name in PROVIDERS]})


def get_provider(service: ArmService, request: ArmRequest) -> ArmAnswer:
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


def _subscription(service: ArmService) -> Json:
    return {
        "id": service.scope,
        "subscriptionId": service.subscription,
        "tenantId": service.sign_in.tenant,
        "displayName": "Kobune",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {"quotaId": "Internal_2014-09-01", "spendingLimit": "Off"},
    }


def _group_headers(service: ArmService, request: ArmRequest, operation: Operation) -> dict[str, str]:
    version = request.query.get("api-version", "2024-11-01")
    location = f"{request.base}{service.scope}/operationresults/{operation.id}?api-version={version}"
    return {"Location": location, "Retry-After": RETRY_AFTER_SECONDS}


def _give_up(service: ArmService, operation: Operation, message: str) -> None:
    group = service.store.find(operation.resource)
    if group is not None:
        service.save(replace(group, document=group.document | {"properties": {"provisioningState": "Succeeded"}}))
    end(service, operation, "Failed", "ResourceGroupDeletionBlocked", message)


def _refuse_deleting(group: Resource) -> None:
    if group.document["properties"]["provisioningState"] == "Deleting":
        raise ArmError(
            409,
            "ResourceGroupBeingDeleted",
            f"The resource group '{group.document['name']}' is in deprovisioning state and cannot perform this operation.",
        )


def _refuse_node_group(service: ArmService, name: str) -> None:
    owner = service.find_node_group_owner(name)
    if owner is not None:
        raise ArmError(
            403,
            "DenyAssignmentAuthorizationFailed",
            f"The resource group '{name}' belongs to the managed cluster '{owner.document['name']}' and is read-only: it comes "
            "and goes with the cluster.",
        )


def _node_group(service: ArmService, cluster: Resource) -> Json:
    document = cluster.document
    name = document["properties"]["nodeResourceGroup"]
    tags = {
        "aks-managed-cluster-name": document["name"],
        "aks-managed-cluster-rg": document["id"].split("/")[4],
        "kobune.io/kubernetes-version": document["properties"][KEPT]["version"],
    }
    return {
        "id": service.group_id(name),
        "name": name,
        "type": GROUP_TYPE,
        "location": document["location"],
        "managedBy": document["id"],
        "tags": tags,
        "properties": {"provisioningState": "Succeeded"},
    }


def _matches_tag(resource: Json, wanted: str) -> bool:
    name = re.search(r"tagName eq '([^']*)'", wanted, re.IGNORECASE)
    value = re.search(r"tagValue eq '([^']*)'", wanted, re.IGNORECASE)
    if not name:
        return True
    tags = resource.get("tags") or {}
    return name[1] in tags and (not value or tags[name[1]] == value[1])


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
