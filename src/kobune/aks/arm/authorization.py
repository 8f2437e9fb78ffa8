"""Role definitions, role assignments and user-assigned identities: recorded for clients that ask; not enforced."""

import re

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.kept import Kept
from kobune.aks.arm.request import ArmAnswer, ArmRequest, normal_location
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource
from kobune.api.errors import Json

ASSIGNMENTS = "microsoft.authorization/roleassignments"
IDENTITIES = "microsoft.managedidentity/userassignedidentities"
identities = Kept("Microsoft.ManagedIdentity/userAssignedIdentities", "identity")
# Source: Azure's page on built-in roles.
ROLES = {
    "Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "Network Contributor": "4d97b98b-1d4f-4787-a291-c67834d212e7",
    "Managed Identity Operator": "f1a07417-d97a-45cb-824c-7a7467783830",
    "Azure Kubernetes Service Cluster Admin Role": "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8",
    "Azure Kubernetes Service Cluster User Role": "4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
    "Azure Kubernetes Service RBAC Cluster Admin": "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
}


def list_definitions(service: ArmService, request: ArmRequest) -> ArmAnswer:
    wanted = re.search(r"roleName eq '([^']*)'", request.query.get("$filter", ""), re.IGNORECASE)
    scope = _scope(request)
    return ArmAnswer(
        200,
        {
            "value": [
                _definition(service, scope, name) for name in ROLES if not wanted or name.lower() == wanted[1].lower()
            ]
        },
    )


def get_definition(service: ArmService, request: ArmRequest) -> ArmAnswer:
    wanted = request.parameters["role"].lower()
    for name, guid in ROLES.items():
        if guid == wanted:
            return ArmAnswer(200, _definition(service, _scope(request), name))
    raise ArmError(
        404, "RoleDefinitionDoesNotExist", f"The specified role definition with ID '{wanted}' does not exist."
    )


def list_assignments(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Those of the scope and, unless `atScope()` is asked for, of everything below it."""
    scope, wanted = _scope(request).lower(), request.query.get("$filter", "")
    principal = re.search(r"principalId eq '([^']*)'|assignedTo\('([^']*)'\)", wanted)
    found = [
        assignment.document
        for assignment in service.store.list(ASSIGNMENTS, scope)
        if "atScope()" not in wanted or assignment.document["properties"]["scope"].lower() == scope
    ]
    if principal:
        who = (principal[1] or principal[2]).lower()
        found = [document for document in found if document["properties"]["principalId"].lower() == who]
    return ArmAnswer(200, {"value": found})


def put_assignment(service: ArmService, request: ArmRequest) -> ArmAnswer:
    scope, name = _scope(request), request.parameters["assignment"]
    sent = request.json().get("properties") or {}
    role, principal = str(sent.get("roleDefinitionId") or ""), str(sent.get("principalId") or "")
    if role.rpartition("/")[2].lower() not in ROLES.values() or not principal:
        raise ArmError(
            400, "InvalidRoleAssignment", "A role assignment needs a known roleDefinitionId and a principalId."
        )
    key = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
    for known in service.store.list(ASSIGNMENTS, scope):
        properties = known.document["properties"]
        same = properties["roleDefinitionId"].lower() == role.lower() and properties["principalId"] == principal
        if same and properties["scope"].lower() == scope.lower() and known.key != key.lower():
            raise ArmError(409, "RoleAssignmentExists", "The role assignment already exists.")
    document = {
        "id": key,
        "name": name,
        "type": "Microsoft.Authorization/roleAssignments",
        "properties": {
            "principalType": "ServicePrincipal",
            **sent,
            "scope": scope,
            "createdOn": service.now(),
            "updatedOn": service.now(),
        },
    }
    service.save(Resource(key=key, type=ASSIGNMENTS, document=document))
    return ArmAnswer(201, document)


def get_assignment(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, _assignment(service, request).document)


def delete_assignment(service: ArmService, request: ArmRequest) -> ArmAnswer:
    try:
        found = _assignment(service, request)
    except ArmError:
        return ArmAnswer(204)
    service.store.remove(found.key)
    return ArmAnswer(200, found.document)


def put_identity(service: ArmService, request: ArmRequest) -> ArmAnswer:
    group = service.get_group(request.parameters["group"])
    body, name = request.json(), request.parameters["identity"]
    key = f"{group.document['id']}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    existing = service.store.find(key)
    document = {
        "id": key,
        "name": name,
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
        "location": normal_location(str(body.get("location") or group.document["location"])),
        "tags": body.get("tags") or {},
        "properties": existing.document["properties"]
        if existing
        else {
            "principalId": service.new_id(),
            "clientId": service.new_id(),
            "tenantId": service.sign_in.tenant,
        },
    }
    service.save(Resource(key=key, type=IDENTITIES, document=document))
    return ArmAnswer(200 if existing else 201, document)


def _assignment(service: ArmService, request: ArmRequest) -> Resource:
    name = request.parameters["assignment"]
    found = service.store.find(f"{_scope(request)}/providers/Microsoft.Authorization/roleAssignments/{name}")
    if found is None:
        raise ArmError(404, "RoleAssignmentNotFound", f"The role assignment '{name}' is not found.")
    return found


def _scope(request: ArmRequest) -> str:
    """What stands before the authorization provider in the path."""
    at = request.path.lower().rindex("/providers/microsoft.authorization/")
    return request.path[:at]


def _definition(service: ArmService, scope: str, name: str) -> Json:
    return {
        "id": f"{service.scope}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[name]}",
        "name": ROLES[name],
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": name,
            "type": "BuiltInRole",
            "description": name,
            "assignableScopes": ["/"],
            "permissions": [{"actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": []}],
        },
    }
