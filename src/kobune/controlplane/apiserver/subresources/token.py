"""serviceaccounts/token: issues a token, bound to an object or not. Source: upstream TokenREST."""

from datetime import timedelta
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import BadRequest, Json, NotFound, ServiceUnavailable, conflict, invalid, not_found
from kobune.api.field_errors import invalid as invalid_field
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.answers import document
from kobune.controlplane.apiserver.negotiation import accepted
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.posted import read_posted

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests")
DEFAULT_SECONDS = 3600
SHORTEST_SECONDS = 600
LONGEST_SECONDS = 1 << 32


async def issue_token(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Raises NotFound, Invalid, Conflict."""
    asked = read_posted(server, request, info, TOKEN_REQUEST)
    call = new_call(server, request, info)
    if server.service_account_tokens is None:
        raise ServiceUnavailable("this server has no key to sign service account tokens with")
    meta, spec = asked["metadata"], asked.setdefault("spec", {})
    for field, value, what in (("name", call.name, "name"), ("namespace", call.namespace, "namespace")):
        if meta.get(field) and meta[field] != value:
            fault = invalid_field(
                f"metadata.{field}", meta[field], f"must match the service account {what} if specified"
            )
            raise invalid("TokenRequest", call.name, fault, group=TOKEN_REQUEST.group)
    account = await server.registry.find(call.kind, call.namespace, call.name)
    if account is None:
        raise call.not_found()
    if meta.get("uid") and meta["uid"] != account["metadata"]["uid"]:
        raise conflict(
            "TokenRequest", call.name,
            f"the UID in the token request ({meta['uid']}) does not match the UID of the service account "
            f"({account['metadata']['uid']})", group=TOKEN_REQUEST.group,
        )  # fmt: skip
    attributes = Attributes("CREATE", call, asked, None)
    await server.registry.admission.admit(attributes)
    await server.registry.admission.validate(attributes)
    audiences = spec.get("audiences") or list(server.config.audiences)
    seconds = spec.get("expirationSeconds") or DEFAULT_SECONDS
    _check_seconds(seconds)
    longest = server.config.max_token_expiration_seconds
    if longest and seconds > longest:
        request.warnings.append(f"requested expiration of {seconds} seconds shortened to {longest} seconds")
        seconds = longest
    pod, secret, node = await _bound(server, spec.get("boundObjectRef"), call.namespace, call.name)
    token = server.service_account_tokens.issue(
        account, audiences=audiences, now=call.now, seconds=seconds, token_id=server.registry.mint.uid(),
        pod=pod, secret=secret, node=node,
    )  # fmt: skip
    answer = {
        "kind": TOKEN_REQUEST.name,
        "apiVersion": TOKEN_REQUEST.api_version,
        "metadata": {
            "name": call.name,
            "namespace": call.namespace,
            "uid": account["metadata"]["uid"],
            "creationTimestamp": format_time(call.now),
        },
        "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": format_time(call.now + timedelta(seconds=seconds))},
    }
    return document(orjson.dumps(answer), accepted(request.headers.get("accept") or ""), 201)


def _check_seconds(seconds: int) -> None:
    problem = ""
    if seconds < SHORTEST_SECONDS:
        problem = "may not specify a duration less than 10 minutes"
    elif seconds > LONGEST_SECONDS:
        problem = "may not specify a duration larger than 2^32 seconds"
    if problem:
        fault = invalid_field("spec.expirationSeconds", seconds, problem)
        raise invalid("TokenRequest", "", fault, group=TOKEN_REQUEST.group)


async def _bound(
    server: "ApiServer", reference: Json | None, namespace: str, account: str
) -> tuple[Json | None, Json | None, Json | None]:
    """The pod, secret and node that the token is bound to."""
    if not reference:
        return None, None, None
    registry, kind, name = server.registry, reference.get("kind"), reference.get("name") or ""
    version = reference.get("apiVersion")
    if version != "v1" or kind not in ("Pod", "Secret", "Node"):
        group, _, last = str(version).rpartition("/")
        raise BadRequest(f"cannot bind token to object of type {group}/{last}, Kind={kind}")
    row = registry.builtin("", "v1", kind)
    obj = await registry.find(row, namespace, name)
    if obj is None:
        raise _absent(row, name)
    uid = reference.get("uid")
    node = None
    if kind == "Pod":
        spec = obj.get("spec") or {}
        if spec.get("serviceAccountName") != account:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        if spec.get("nodeName"):
            node = await registry.find(registry.builtin("", "v1", "Node"), "", spec["nodeName"])
            node = node or {"metadata": {"name": spec["nodeName"]}}
    if uid and uid != obj["metadata"]["uid"]:
        raise conflict(
            kind, name,
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated",
        )  # fmt: skip
    if kind == "Node":
        return None, None, obj
    return (obj, None, node) if kind == "Pod" else (None, obj, None)


def _absent(kind: Kind, name: str) -> NotFound:
    return not_found(kind.plural, name, group=kind.group)
