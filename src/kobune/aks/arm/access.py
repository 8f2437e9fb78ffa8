"""Who may do what: role assignments decide, at the scope of the request or above it.

Source: Azure's pages on role-based access control and on the names of actions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.request import Caller
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource
from kobune.aks.roles import BUILT_IN, OWNER, Role, custom_role
from kobune.api.errors import Json

ASSIGNMENTS = "microsoft.authorization/roleassignments"
DEFINITIONS = "microsoft.authorization/roledefinitions"


@dataclass(frozen=True, slots=True)
class Grant:
    """A role assignment with its role."""

    principal: str
    scope: str  # In lower case.
    role: Role

    def covers(self, scope: str) -> bool:
        """Whether it counts at this scope: its own, and everything below."""
        return self.scope in ("", "/") or scope == self.scope or scope.startswith(f"{self.scope}/")

    def is_below(self, scope: str) -> bool:
        return self.scope.startswith(f"{scope}/")


def action_of(method: str, template: Sequence[str]) -> str:
    """The name of what a request does.

    Args:
        template: the path's segments, variables in braces.
    """
    verb = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}.get(method, "action")
    lowered = [segment.lower() for segment in template]
    if "providers" in lowered[:-1] and not template[_last(lowered, "providers") + 1].startswith("{"):
        at = _last(lowered, "providers")
        named = [template[at + 1], *template[at + 2 :: 2]]
    else:
        named = ["Microsoft.Resources", *(segment for segment in template if not segment.startswith("{"))]
    return "/".join((*named, verb))


def scope_of(path: str) -> str:
    """The resource that a request is about: the path without the name of an action or of a list."""
    segments = path.strip("/").split("/")
    lowered = [segment.lower() for segment in segments]
    # Behind its provider's namespace, a resource is pairs of type and name; before, everything is pairs.
    start = _last(lowered, "providers") + 2 if "providers" in lowered[:-1] else 0
    whole = len(segments) - start
    if whole % 2:
        segments = segments[:-1]
        if start and len(segments) == start:
            segments = segments[: start - 2]
    return "/" + "/".join(segments)


def grants(service: ArmService) -> Iterator[Grant]:
    """Every role assignment of the subscription whose role is known."""
    roles = {role.id: role for role in all_roles(service)}
    for assignment in service.store.list(ASSIGNMENTS):
        properties = assignment.document["properties"]
        role = roles.get(str(properties["roleDefinitionId"]).rpartition("/")[2].lower())
        if role is not None:
            yield Grant(str(properties["principalId"]).lower(), str(properties["scope"]).rstrip("/").lower(), role)


def grants_of(service: ArmService, caller: Caller) -> list[Grant]:
    principals = caller.principals
    return [grant for grant in grants(service) if grant.principal in principals]


def all_roles(service: ArmService) -> list[Role]:
    """The built-in roles, and the subscription's own."""
    return [*BUILT_IN, *(role_of(found) for found in service.store.list(DEFINITIONS))]


def role_of(definition: Resource) -> Role:
    properties = definition.document["properties"]
    return custom_role(
        properties["roleName"],
        definition.document["name"].lower(),
        properties.get("description") or "",
        properties["permissions"],
    )


def is_allowed(held: Sequence[Grant], action: str, scope: str) -> bool:
    scope = scope.rstrip("/").lower()
    return any(grant.covers(scope) and grant.role.allows(action) for grant in held)


def require(service: ArmService, caller: Caller, held: Sequence[Grant], *, action: str, path: str) -> bool:
    """Whether everything at the scope may be seen; False: a list that only shows what may be.

    Raises:
        ArmError: AuthorizationFailed.
    """
    scope = scope_of(path)
    if is_allowed(held, action, scope):
        return True
    # Who may read something below a subscription may list what is there; see `visible`.
    below = (grant for grant in held if grant.is_below(scope.lower()))
    if (
        scope.lower() == service.scope.lower()
        and action.endswith("/read")
        and any(_reads(grant.role) for grant in below)
    ):
        return False
    raise ArmError(
        403,
        "AuthorizationFailed",
        f"The client '{caller.app_id}' with object id '{caller.object_id}' does not have authorization to perform action "
        f"'{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your "
        "credentials.",
    )


def visible(body: Json, held: Sequence[Grant]) -> Json:
    """A list's answer with what the grants let one read."""
    if not isinstance(body.get("value"), list):
        return body
    return body | {"value": [item for item in body["value"] if _is_visible(item, held)]}


def give_first_owner(service: ArmService) -> None:
    """Make the service's own principal Owner of the subscription when nobody is: at the first start."""
    if any(True for _ in owners(service)):
        return
    name = service.new_id()
    scope = service.scope
    key = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
    principal, role = service.sign_in.principal, next(role for role in BUILT_IN if role.name == OWNER)
    document = assignment_document(
        service, key, scope,
        {"roleDefinitionId": definition_id(service, role), "principalId": principal.object_id, "principalType": "ServicePrincipal"},
    )  # fmt: skip
    service.save(Resource(key=key, type=ASSIGNMENTS, document=document))


def owners(service: ArmService) -> Iterator[Grant]:
    """Who may give access to the whole subscription."""
    write = "Microsoft.Authorization/roleAssignments/write"
    return (grant for grant in grants(service) if grant.covers(service.scope.lower()) and grant.role.allows(write))


def definition_id(service: ArmService, role: Role) -> str:
    return f"{service.scope}/providers/Microsoft.Authorization/roleDefinitions/{role.id}"


def assignment_document(service: ArmService, key: str, scope: str, properties: Json) -> Json:
    now = service.now()
    return {
        "id": key,
        "name": key.rpartition("/")[2],
        "type": "Microsoft.Authorization/roleAssignments",
        "properties": {**properties, "scope": scope, "createdOn": now, "updatedOn": now},
    }


def _reads(role: Role) -> bool:
    """Whether it allows to read anything at all."""
    return any(pattern.lower().endswith(("/read", "*")) for pattern in role.actions)


def _is_visible(item: Json, held: Sequence[Grant]) -> bool:
    found = str(item.get("id") or "")
    if "/resourcegroups/" not in found.lower():
        return True  # Not a resource: a location, a provider, a size.
    type_ = str(item.get("type") or "Microsoft.Resources/resourceGroups")
    if type_.lower() == "microsoft.resources/resourcegroups":
        type_ = "Microsoft.Resources/subscriptions/resourceGroups"
    return is_allowed(held, f"{type_}/read", found)


def _last(words: Sequence[str], word: str) -> int:
    return len(words) - 1 - words[::-1].index(word)
