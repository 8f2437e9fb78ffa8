"""Role definitions, role assignments and user-assigned identities, as az, the SDKs and Terraform write them.

Source: REST reference of Microsoft.Authorization, api-versions 2022-04-01 and 2022-05-01-preview.
"""

import re

from kobune.aks.arm.access import (
    ASSIGNMENTS,
    DEFINITIONS,
    all_roles,
    assignment_document,
    definition_id,
    grants,
    owners,
)
from kobune.aks.arm.directory import IDENTITIES
from kobune.aks.arm.errors import ArmError, bad_request, not_supported
from kobune.aks.arm.kept import Kept
from kobune.aks.arm.request import GUID, ArmAnswer, ArmRequest, normal_location
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource
from kobune.aks.roles import BUILT_IN, Role
from kobune.api.errors import Json

identities = Kept("Microsoft.ManagedIdentity/userAssignedIdentities", "identity")


def list_definitions(service: ArmService, request: ArmRequest) -> ArmAnswer:
    wanted = request.query.get("$filter", "")
    name = re.search(r"roleName eq '([^']*)'", wanted, re.IGNORECASE)
    kind = re.search(r"type eq '([^']*)'", wanted, re.IGNORECASE)
    found = [
        _definition(service, role)
        for role in all_roles(service)
        if (not name or role.name.lower() == name[1].lower()) and (not kind or _kind(role).lower() == kind[1].lower())
    ]
    return ArmAnswer(200, {"value": found})


def get_definition(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, _definition(service, _role(service, request.parameters["role"])))


def put_definition(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Create or replace a custom role."""
    name, sent = request.parameters["role"].lower(), request.json().get("properties") or {}
    if not GUID.fullmatch(name):
        raise bad_request("InvalidRoleDefinitionId", f"The role definition ID '{name}' is not a valid GUID.")
    if any(role.id == name for role in BUILT_IN):
        raise ArmError(403, "RoleDefinitionNotModifiable", f"The built-in role '{name}' cannot be changed.")
    title, permissions = str(sent.get("roleName") or ""), sent.get("permissions") or []
    if not title or not permissions:
        raise bad_request("InvalidRoleDefinition", "A role definition needs a roleName and permissions.")
    for entry in permissions:
        _refuse_condition(entry, "A condition on a role's permissions", "properties.permissions.condition")
    if any(role.name.lower() == title.lower() and role.id != name for role in all_roles(service)):
        raise ArmError(
            409,
            "RoleDefinitionWithSameNameExists",
            f"A custom role with the name '{title}' already exists in this directory. Use a different name.",
        )
    key = f"{service.scope}/providers/Microsoft.Authorization/roleDefinitions/{name}"
    document = {
        "id": key,
        "name": name,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": title,
            "type": "CustomRole",
            "description": str(sent.get("description") or ""),
            "assignableScopes": sent.get("assignableScopes") or [service.scope],
            "permissions": permissions,
        },
    }
    service.save(Resource(key=key, type=DEFINITIONS, document=document))
    return ArmAnswer(201, document)


def delete_definition(service: ArmService, request: ArmRequest) -> ArmAnswer:
    name = request.parameters["role"].lower()
    if any(role.id == name for role in BUILT_IN):
        raise ArmError(403, "RoleDefinitionNotModifiable", f"The built-in role '{name}' cannot be deleted.")
    found = service.store.find(f"{service.scope}/providers/Microsoft.Authorization/roleDefinitions/{name}")
    if found is None:
        return ArmAnswer(204)
    if any(grant.role.id == name for grant in grants(service)):
        raise bad_request(
            "RoleDefinitionHasAssignments", "There are existing role assignments referencing this role definition."
        )
    service.store.remove(found.key)
    return ArmAnswer(200, found.document)


def list_assignments(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Those at the scope and above it, and, unless `atScope()` is asked for, those of everything below."""
    scope, wanted = _scope(request).rstrip("/").lower(), request.query.get("$filter", "")
    principal = re.search(r"principalId eq '([^']*)'", wanted, re.IGNORECASE)
    assigned = re.search(r"assignedTo\('([^']*)'\)", wanted, re.IGNORECASE)
    principals = {principal[1].lower()} if principal else set()
    if assigned:
        principals = {assigned[1].lower(), *service.sign_in.directory.groups_of(assigned[1])}
    found = []
    for assignment in service.store.list(ASSIGNMENTS):
        properties = assignment.document["properties"]
        its_scope = str(properties["scope"]).rstrip("/").lower()
        inherited = scope == its_scope or scope.startswith(f"{its_scope}/")
        below = its_scope.startswith(f"{scope}/") and "atscope()" not in wanted.lower()
        if (inherited or below) and (not principals or properties["principalId"].lower() in principals):
            found.append(assignment.document)
    return ArmAnswer(200, {"value": found})


def put_assignment(service: ArmService, request: ArmRequest) -> ArmAnswer:
    scope, name = _scope(request), request.parameters["assignment"]
    sent = request.json().get("properties") or {}
    wanted, principal = str(sent.get("roleDefinitionId") or ""), str(sent.get("principalId") or "")
    if not GUID.fullmatch(name):
        raise bad_request(
            "InvalidRoleAssignmentId", f"The role assignment ID '{name}' is not valid. The ID must be a GUID."
        )
    if not wanted or not principal:
        raise bad_request("InvalidRoleAssignment", "A role assignment needs a roleDefinitionId and a principalId.")
    if not GUID.fullmatch(principal):
        raise bad_request(
            "InvalidPrincipalId",
            f"A valid principal ID must be provided for role assignment; '{principal}' is not a GUID.",
        )
    _refuse_condition(sent, "A condition on a role assignment", "properties.condition")
    role = _role(service, wanted.rpartition("/")[2])
    key = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
    existing = service.store.find(key)
    for known in service.store.list(ASSIGNMENTS):
        properties = known.document["properties"]
        same = properties["roleDefinitionId"].lower().endswith(role.id) and properties["principalId"] == principal
        if same and properties["scope"].lower() == scope.lower() and known.key != key.lower():
            raise ArmError(409, "RoleAssignmentExists", "The role assignment already exists.")
    if existing is not None:
        before = existing.document["properties"]
        if (before["principalId"], before["roleDefinitionId"].rpartition("/")[2].lower()) != (principal, role.id):
            raise bad_request(
                "RoleAssignmentUpdateNotPermitted",
                "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
            )
    properties = {
        "principalType": "ServicePrincipal",
        **{field: value for field, value in sent.items() if value is not None},
        "roleDefinitionId": definition_id(service, role),
        "createdBy": request.caller.object_id,
        "updatedBy": request.caller.object_id,
    }
    document = assignment_document(service, key, scope, properties)
    service.save(Resource(key=key, type=ASSIGNMENTS, document=document))
    return ArmAnswer(200 if existing else 201, document)


def get_assignment(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, _assignment(service, request).document)


def delete_assignment(service: ArmService, request: ArmRequest) -> ArmAnswer:
    try:
        found = _assignment(service, request)
    except ArmError:
        return ArmAnswer(204)
    remaining = list(owners(service))
    properties = found.document["properties"]
    if len(remaining) == 1:
        last = remaining[0]
        mine = (properties["principalId"].lower(), properties["scope"].lower()) == (last.principal, last.scope)
        if mine and properties["roleDefinitionId"].lower().endswith(last.role.id):
            raise bad_request(
                "LastRbacAdminAssignmentDeletionNotAllowed", "Deleting the last RBAC admin assignment is not allowed."
            )
    service.store.remove(found.key)
    return ArmAnswer(200, found.document)


def put_identity(service: ArmService, request: ArmRequest) -> ArmAnswer:
    group = service.get_group(request.parameters["group"])
    body, name = request.json(), request.parameters["identity"]
    key = f"{group.document['id']}/providers/{identities.type}/{name}"
    existing = service.store.find(key)
    document = {
        "id": key,
        "name": name,
        "type": identities.type,
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


def _refuse_condition(sent: Json, what: str, target: str) -> None:
    """Without its condition a role would allow more than was meant. Raises ArmError."""
    if sent.get("condition"):
        raise not_supported(what, target=target)


def _assignment(service: ArmService, request: ArmRequest) -> Resource:
    name = request.parameters["assignment"]
    found = service.store.find(f"{_scope(request)}/providers/Microsoft.Authorization/roleAssignments/{name}")
    if found is None:
        raise ArmError(404, "RoleAssignmentNotFound", f"The role assignment '{name}' is not found.")
    return found


def _role(service: ArmService, role_id: str) -> Role:
    for role in all_roles(service):
        if role.id == role_id.lower():
            return role
    raise ArmError(
        404, "RoleDefinitionDoesNotExist", f"The specified role definition with ID '{role_id}' does not exist."
    )


def _scope(request: ArmRequest) -> str:
    """What stands before the authorization provider in the path."""
    at = request.path.lower().rindex("/providers/microsoft.authorization/")
    return request.path[:at]


def _kind(role: Role) -> str:
    return "BuiltInRole" if role in BUILT_IN else "CustomRole"


def _definition(service: ArmService, role: Role) -> Json:
    kept = service.store.find(definition_id(service, role))
    if kept is not None:
        return kept.document
    return {
        "id": definition_id(service, role),
        "name": role.id,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": role.name,
            "type": _kind(role),
            "description": role.description,
            "assignableScopes": ["/"],
            "permissions": [role.permissions],
        },
    }
