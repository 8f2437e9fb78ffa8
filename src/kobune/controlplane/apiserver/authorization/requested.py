"""What requests want to do, as authorization sees it. Source: upstream RequestInfoFactory."""

from collections.abc import Mapping

from kobune.api.errors import BadRequest
from kobune.api.field_selectors import parse_fields
from kobune.controlplane.apiserver.authorization.authorizer import Access
from kobune.controlplane.apiserver.request import NOTHING, Request, User
from kobune.controlplane.apiserver.routes import RequestInfo

VERB_OF_METHOD = {
    "GET": "get", "HEAD": "head", "POST": "post", "PUT": "put", "PATCH": "patch", "DELETE": "delete",
    "OPTIONS": "options",
}  # fmt: skip


def access_of(user: User, info: RequestInfo, query: Mapping[str, str] = NOTHING) -> Access:
    """What a request for a resource wants to do."""
    fields = query.get("fieldSelector", "") if query else ""
    labels = query.get("labelSelector", "") if query else ""
    name = info.name
    if not name and fields and info.verb in ("list", "watch"):
        # Who may see one object may list it. Source: upstream RequestInfoFactory.
        name = _named(fields)
    return Access(
        user, info.verb, info.group, info.version, info.plural, info.subresource, info.namespace, name, "", fields,
        labels,
    )  # fmt: skip


def path_access(user: User, request: Request) -> Access:
    """What a request that names no resource wants to do."""
    return Access(user, VERB_OF_METHOD.get(request.method, request.method.lower()), path=request.path)


def _named(fields: str) -> str:
    """The only name that a field selector lets through; empty when there may be others."""
    try:
        return parse_fields(fields).exact("metadata.name") or ""
    except BadRequest:
        return ""  # It is refused when it is read.
