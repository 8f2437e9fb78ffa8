"""SubjectAccessReview and its relatives: may somebody do something?"""

from functools import partial
from typing import TYPE_CHECKING

from kobune.api.errors import BadRequest, Json, invalid
from kobune.api.field_errors import invalid as invalid_field
from kobune.api.field_errors import required
from kobune.controlplane.apiserver.authorization.authorizer import (
    Access,
    AlwaysAllow,
    AlwaysDeny,
    Authorizer,
    SystemMasters,
    Verdict,
)
from kobune.controlplane.apiserver.authorization.node import NodeAuthorizer, is_node
from kobune.controlplane.apiserver.authorization.rbac import Rbac
from kobune.controlplane.apiserver.authorization.rules import Rule
from kobune.controlplane.apiserver.request import MASTER, Request, Response, User
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.virtual.asked import answer, read_review

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

GROUP = "authorization.k8s.io"
ALL = Rule(frozenset("*"), frozenset("*"), frozenset("*"), frozenset())
ALL_URLS = Rule(frozenset("*"), frozenset(), frozenset(), frozenset(), ("*",))


async def review_access(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """About the user that the review names."""
    review = read_review(server, request, info)
    spec = review["spec"]
    if not spec.get("user") and not spec.get("groups"):
        fault = required("spec.user", "at least one of user or group must be specified")
        raise invalid("", "", fault, group=GROUP)
    if review["kind"] == "LocalSubjectAccessReview":
        attributes = spec.get("resourceAttributes") or {}
        if attributes.get("namespace") != info.namespace:
            words = "must match metadata.namespace"
            fault = invalid_field("spec.resourceAttributes.namespace", attributes.get("namespace") or "", words)
            raise invalid("", "", fault, group=GROUP)
        review["metadata"]["namespace"] = info.namespace
    user = User(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), spec.get("extra") or {})
    return answer(request, review, await _decide(server, review, user))


async def review_own_access(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """About the user who asks."""
    review = read_review(server, request, info)
    return answer(request, review, await _decide(server, review, request.user or MASTER))


async def review_rules(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Everything that the user who asks may do in a namespace."""
    review = read_review(server, request, info)
    namespace, user = review["spec"].get("namespace") or "", request.user or MASTER
    if not namespace:
        raise BadRequest("no namespace on request")
    rules = list(server.rbac.rules_for(user, namespace)) if server.rbac is not None else [ALL, ALL_URLS]
    if "system:masters" in user.groups:
        rules = [ALL, ALL_URLS, *rules]
    unknown = [words for words in map(partial(_untold, user), server.authorization.authorizers) if words]
    status: Json = {
        "resourceRules": [rule.to_json() for rule in rules if not rule.urls],
        "nonResourceRules": [rule.to_json() for rule in rules if rule.urls],
        "incomplete": bool(unknown),
    }
    if unknown:
        different = list(dict.fromkeys(unknown))
        status["evaluationError"] = different[0] if len(different) == 1 else f"[{', '.join(different)}]"
    return answer(request, review, status)


def _untold(user: User, authorizer: Authorizer) -> str:
    """Why the rules do not say all that an authorizer allows; "" when they do. Source: upstream RulesFor of each authorizer."""
    match authorizer:
        case SystemMasters() | AlwaysAllow() | AlwaysDeny() | Rbac():
            return ""
        case NodeAuthorizer():
            return "node authorizer does not support user rule resolution" if is_node(user) else ""
    return "webhook authorizer does not support user rule resolution"


async def _decide(server: "ApiServer", review: Json, user: User) -> Json:
    decision = await server.authorization.decide(_access(review, user))
    status: Json = {"allowed": decision.verdict is Verdict.ALLOW}
    if decision.verdict is Verdict.DENY:
        status["denied"] = True
    if decision.reason:
        status["reason"] = decision.reason
    return status


def _access(review: Json, user: User) -> Access:
    spec = review["spec"]
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (other is None):
        words = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        if resource is not None:
            words = "cannot be specified in combination with resourceAttributes"
            raise invalid("", "", invalid_field("spec.nonResourceAttributes", other, words), group=GROUP)
        raise invalid("", "", invalid_field("spec.resourceAttributes", None, words), group=GROUP)
    if other is not None:
        return Access(user, other.get("verb") or "", path=other.get("path") or "/")
    return Access(
        user,
        resource.get("verb") or "",
        resource.get("group") or "",
        resource.get("version") or "",
        resource.get("resource") or "",
        resource.get("subresource") or "",
        resource.get("namespace") or "",
        resource.get("name") or "",
        fields=_fields(resource.get("fieldSelector") or {}),
    )


def _fields(selector: Json) -> str:
    """As in the query of a list."""
    if selector.get("rawSelector"):
        return str(selector["rawSelector"])
    pairs = [(one.get("key"), list(one.get("values") or ())) for one in selector.get("requirements") or ()]
    return ",".join(f"{key}={values[0]}" for key, values in pairs if len(values) == 1)
