"""Subscriptions, tenants, locations and resource groups.

Source: REST reference of Azure Resource Manager, api-versions 2022-12-01 and 2024-11-01.
"""

import re
from dataclasses import replace

from kobune.aks.arm.clusters import start_deletion
from kobune.aks.arm.documents import KEPT
from kobune.aks.arm.errors import ArmError, bad_request
from kobune.aks.arm.filters import matches_tag
from kobune.aks.arm.locations import check_location, render_locations
from kobune.aks.arm.operations import RETRY_AFTER_SECONDS, end
from kobune.aks.arm.request import ArmAnswer, ArmRequest, check_precondition, normal_location
from kobune.aks.arm.service import CLUSTERS, GROUPS, ArmService
from kobune.aks.arm.store import Operation, Resource
from kobune.api.errors import Json

GROUP_NAME = re.compile(r"[-\w._()]{0,89}[-\w_()]")
GROUP_TYPE = "Microsoft.Resources/resourceGroups"
DELETES_GROUP = "group"  # The kind of operation that waits for a group's contents to go.


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
        200, {"value": [group for group in groups if matches_tag(group, request.query.get("$filter", ""))]}
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
