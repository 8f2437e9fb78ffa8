"""The part of Microsoft Graph by which az and Terraform make service principals and groups and find them again.

Source: Microsoft Graph's reference, v1.0; what `az ad` and `az role assignment` ask of it.
"""

import re
import secrets
from collections.abc import Sequence

from kobune.aks.arm.access import grants_of, is_allowed
from kobune.aks.arm.directory import (
    APPLICATIONS,
    COLLECTIONS,
    GROUPS,
    HASH,
    MEMBERS,
    ODATA_TYPES,
    SERVICE_PRINCIPALS,
    secret_hash,
)
from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.request import ArmAnswer, ArmRequest, Caller
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.sign_in import ADMINISTRATOR
from kobune.api.errors import Json

ROOT = "/msgraph/v1.0/"
_CONDITION = re.compile(
    r"(?P<field>\w+) eq '(?P<is>[^']*)'|startswith\((?P<start>\w+),\s*'(?P<with>[^']*)'\)"
    r"|(?P<list>\w+)/any\(\w+:\w+ eq '(?P<has>[^']*)'\)",
    re.IGNORECASE,
)


def answer(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """One call; errors have Graph's codes."""
    segments = request.path.strip("/").split("/")[2:]
    if request.method != "GET" and segments[:1] != ["directoryObjects"]:
        _check_may_write(service, request.caller)
    if segments == ["directoryObjects", "getByIds"] and request.method == "POST":
        return _by_ids(service, request.json())
    if segments == ["me"] and request.method == "GET":
        return ArmAnswer(200, _me(service, request.caller))
    if segments == ["users"] and request.method == "GET":
        return ArmAnswer(200, {"value": _filtered([_me(service, request.caller)], request.query.get("$filter", ""))})
    collection = next((name for name in COLLECTIONS if segments and name.lower() == segments[0].lower()), None)
    if collection is None or len(segments) > 5:
        raise ArmError(404, "Request_ResourceNotFound", f"Resource not found for the segment '{'/'.join(segments)}'.")
    if len(segments) == 1:
        if request.method == "POST":
            return ArmAnswer(201, _shown(collection, _create(service, collection, request.json())))
        found = [_shown(collection, one) for one in _all(service, collection)]
        return ArmAnswer(200, {"value": _filtered(found, request.query.get("$filter", ""))})
    document = _get(service, collection, segments[1])
    if len(segments) == 2:
        return _one(service, collection, document, request)
    return _part(service, collection, document, segments[2:], request)


def _one(service: ArmService, collection: str, document: Json, request: ArmRequest) -> ArmAnswer:
    if request.method == "GET":
        return ArmAnswer(200, _shown(collection, document))
    if document["id"] == service.sign_in.principal.object_id:
        raise ArmError(403, "Authorization_RequestDenied", "The service's own principal cannot be changed.")
    if request.method == "DELETE":
        service.sign_in.directory.remove(collection, document["id"])
        if collection == APPLICATIONS:
            for principal in service.sign_in.directory.list(SERVICE_PRINCIPALS):
                if principal["appId"] == document["appId"]:
                    service.sign_in.directory.remove(SERVICE_PRINCIPALS, principal["id"])
        return ArmAnswer(204)
    kept = {"id", "appId", MEMBERS, "passwordCredentials", "servicePrincipalNames"}
    changes = {field: value for field, value in request.json().items() if field not in kept}
    service.sign_in.directory.put(collection, document | changes)
    return ArmAnswer(204)


def _part(service: ArmService, collection: str, document: Json, rest: Sequence[str], request: ArmRequest) -> ArmAnswer:
    """What lies below an object: secrets, members, owners."""
    directory, part = service.sign_in.directory, rest[0].lower()
    if part == "addpassword" and request.method == "POST":
        secret = secrets.token_urlsafe(30)
        wanted = request.json().get("passwordCredential") or {}
        credential = {
            "keyId": service.new_id(),
            "displayName": wanted.get("displayName"),
            "startDateTime": wanted.get("startDateTime") or service.now(),
            "endDateTime": wanted.get("endDateTime"),
            "hint": secret[:3],
        }
        kept = [*document["passwordCredentials"], credential | {HASH: secret_hash(secret)}]
        directory.put(collection, document | {"passwordCredentials": kept})
        return ArmAnswer(200, credential | {"secretText": secret})
    if part == "removepassword" and request.method == "POST":
        key = request.json().get("keyId")
        kept = [one for one in document["passwordCredentials"] if one["keyId"] != key]
        directory.put(collection, document | {"passwordCredentials": kept})
        return ArmAnswer(204)
    if part == "members" and collection == GROUPS:
        return _members(service, document, rest[1:], request)
    if part == "owners" and request.method == "GET":
        return ArmAnswer(200, {"value": []})
    if part in ("getmembergroups", "checkmembergroups") and request.method == "POST":
        return ArmAnswer(200, {"value": list(directory.groups_of(document["id"]))})
    raise ArmError(404, "Request_ResourceNotFound", f"Resource not found for the segment '{rest[0]}'.")


def _members(service: ArmService, group: Json, rest: Sequence[str], request: ArmRequest) -> ArmAnswer:
    directory = service.sign_in.directory
    if request.method == "GET":
        found = [shown for object_id in group[MEMBERS] if (shown := _find_any(service, object_id)) is not None]
        return ArmAnswer(200, {"value": found})
    if request.method == "POST":
        object_id = str(request.json().get("@odata.id") or "").rpartition("/")[2]
        if object_id in group[MEMBERS]:
            raise ArmError(
                400, "Request_BadRequest",
                "One or more added object references already exist for the following modified properties: 'members'.",
            )  # fmt: skip
        if _find_any(service, object_id) is None:
            raise _not_found(object_id)
        directory.put(GROUPS, group | {MEMBERS: [*group[MEMBERS], object_id]})
        return ArmAnswer(204)
    directory.put(GROUPS, group | {MEMBERS: [one for one in group[MEMBERS] if not rest or one != rest[0]]})
    return ArmAnswer(204)


def _create(service: ArmService, collection: str, body: Json) -> Json:
    document = {"createdDateTime": service.now(), **body, "id": service.new_id()}
    if collection == GROUPS:
        return service.sign_in.directory.put(GROUPS, document | {MEMBERS: []})
    document |= {"passwordCredentials": [], "keyCredentials": body.get("keyCredentials") or []}
    if collection == APPLICATIONS:
        document |= {"appId": service.new_id(), "identifierUris": body.get("identifierUris") or []}
        return service.sign_in.directory.put(APPLICATIONS, document)
    app_id = str(body.get("appId") or "")
    application = next((one for one in _all(service, APPLICATIONS) if one["appId"] == app_id), None)
    if application is None:
        raise ArmError(
            400, "Request_BadRequest",
            f"The appId '{app_id}' of the service principal does not reference a valid application object.",
        )  # fmt: skip
    if any(one["appId"] == app_id for one in _all(service, SERVICE_PRINCIPALS)):
        raise ArmError(
            409, "Request_MultipleObjectsWithSameKeyValue",
            f"The service principal cannot be created because the service principal name {app_id} is already in use.",
        )  # fmt: skip
    document |= {
        "displayName": application.get("displayName"),
        "servicePrincipalNames": [app_id, *application.get("identifierUris", ())],
        "servicePrincipalType": "Application",
    }
    return service.sign_in.directory.put(SERVICE_PRINCIPALS, document)


def _all(service: ArmService, collection: str) -> list[Json]:
    own = service.sign_in.principal
    found = service.sign_in.directory.list(collection)
    if collection == SERVICE_PRINCIPALS:
        found.append({
            "id": own.object_id, "appId": own.client_id, "displayName": "kobune", "servicePrincipalNames": [own.client_id],
            "servicePrincipalType": "Application", "accountEnabled": True, "passwordCredentials": [], "keyCredentials": [],
        })  # fmt: skip
    return found


def _get(service: ArmService, collection: str, object_id: str) -> Json:
    for one in _all(service, collection):
        if one["id"].lower() == object_id.lower():
            return one
    raise _not_found(object_id)


def _find_any(service: ArmService, object_id: str) -> Json | None:
    """Any object that can be given a role."""
    for collection in (SERVICE_PRINCIPALS, GROUPS):
        for one in _all(service, collection):
            if one["id"].lower() == object_id.lower():
                return _shown(collection, one)
    identity = service.sign_in.directory.find_identity(object_id, tenant=service.sign_in.tenant)
    if identity is None:
        return None
    return {
        "@odata.type": ODATA_TYPES[SERVICE_PRINCIPALS], "id": identity.object_id, "appId": identity.client_id,
        "servicePrincipalNames": [identity.client_id], "servicePrincipalType": "ManagedIdentity", "displayName": identity.client_id,
    }  # fmt: skip


def _by_ids(service: ArmService, body: Json) -> ArmAnswer:
    found = (_find_any(service, str(object_id)) for object_id in body.get("ids") or ())
    return ArmAnswer(200, {"value": [one for one in found if one is not None]})


def _me(service: ArmService, caller: Caller) -> Json:
    return {
        "@odata.type": "#microsoft.graph.user", "id": caller.object_id, "displayName": "Kobune administrator",
        "userPrincipalName": ADMINISTRATOR,
    }  # fmt: skip


def _shown(collection: str, document: Json) -> Json:
    """Without what is nobody's to see."""
    shown = {field: value for field, value in document.items() if field != MEMBERS}
    if "passwordCredentials" in shown:
        shown["passwordCredentials"] = [
            {field: value for field, value in one.items() if field != HASH} for one in shown["passwordCredentials"]
        ]
    return {"@odata.type": ODATA_TYPES[collection], **shown}


def _filtered(found: list[Json], wanted: str) -> list[Json]:
    for part in re.split(r"\s+and\s+", wanted) if wanted else ():
        condition = _CONDITION.fullmatch(part.strip())
        if condition is None:
            raise ArmError(400, "Request_UnsupportedQuery", f"Unsupported or invalid query filter clause: '{part}'.")
        found = [one for one in found if _meets(one, condition)]
    return found


def _meets(one: Json, condition: re.Match[str]) -> bool:
    if condition["field"]:
        return str(one.get(condition["field"]) or "").lower() == condition["is"].lower()
    if condition["start"]:
        return str(one.get(condition["start"]) or "").lower().startswith(condition["with"].lower())
    return condition["has"].lower() in [str(value).lower() for value in one.get(condition["list"]) or ()]


def _check_may_write(service: ArmService, caller: Caller) -> None:
    """Who decides about access to the subscription decides about its directory."""
    action = "Microsoft.Authorization/roleAssignments/write"
    if not is_allowed(grants_of(service, caller), action, service.scope):
        raise ArmError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def _not_found(object_id: str) -> ArmError:
    return ArmError(
        404, "Request_ResourceNotFound",
        f"Resource '{object_id}' does not exist or one of its queried reference-property objects are not present.",
    )  # fmt: skip
