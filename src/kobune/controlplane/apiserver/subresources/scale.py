"""The scale subresource: a kind's replicas, seen and set as a Scale object."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.decode import unknown_field
from kobune.api.errors import Json, MethodNotAllowed, invalid
from kobune.api.field_errors import invalid as invalid_field
from kobune.api.selectors import labels_from_json, labels_from_map
from kobune.controlplane.apiserver.answers import document
from kobune.controlplane.apiserver.negotiation import accepted, media_type_of
from kobune.controlplane.apiserver.registry import applying, patching, reading
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.decoding import checked_object, tell
from kobune.controlplane.apiserver.registry.update import MODIFIED, change, check_name, whole
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.posted import read_as, schema_of

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

SCALE = Kind("autoscaling", "v1", "Scale", "scales")


class View(NamedTuple):
    """How a kind shows its Scale, and how it takes a new number of replicas."""

    show: Callable[[Json], Json]
    take: Callable[[Json, int], Json]


async def scale(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """The scale of a built-in kind."""
    return await serve_scale(server, request, info, BUILTIN)


async def serve_scale(server: "ApiServer", request: Request, info: RequestInfo, view: View) -> Response:
    """Get, update or patch the number of replicas. Raises Conflict, Invalid, NotFound."""
    call, form = new_call(server, request, info), accepted(request.headers.get("accept") or "")
    registry = server.registry
    if info.verb == "get":
        body = await reading.get(registry, call.kind, call.namespace, call.name)
    elif info.verb == "update":
        wanted = read_as(server, request, SCALE)
        check_name(call, wanted["metadata"])

        async def replace(old: Json) -> Json:
            return _scaled(call, view, old, wanted)

        body = await change(registry, call, replace, prepare=whole)
    elif info.verb == "patch" and media_type_of(request.headers.get("content-type") or "") in applying.APPLY_PATCHES:

        def wanted_of(document: object) -> Json:
            unknown: list[str] = []
            asked = checked_object(document, SCALE, schema_of(server, SCALE), unknown=unknown)
            problems = list(map(unknown_field, unknown))
            tell(problems, SCALE, validation=call.options.field_validation, warnings=call.warnings)
            check_name(call, asked["metadata"])
            empty = {"apiVersion": call.kind.api_version, "kind": call.kind.name, "metadata": {}, "spec": {}}
            return view.take(empty, _replicas(call, asked))

        body = (await applying.apply_patch(registry, call, request.body, read=wanted_of)).body
    elif info.verb == "patch":
        asked = patching.decode_patch(
            request.body,
            request.headers.get("content-type") or "",
            custom=call.kind.custom,
            validation=call.options.field_validation,
        )

        async def apply(old: Json) -> Json:
            checked = patching.patched_object(asked, view.show(old), SCALE, schema_of(server, SCALE), call)
            return _scaled(call, view, old, checked)

        body = await change(registry, call, apply, prepare=whole)
    else:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    return document(orjson.dumps(view.show(orjson.loads(body))), form)


def scale_of(obj: Json) -> Json:
    """The Scale of an object that has replicas and a selector."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    selector = spec.get("selector")
    chosen = labels_from_map(selector) if obj["kind"] == "ReplicationController" else labels_from_json(selector)
    fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": SCALE.name,
        "apiVersion": SCALE.api_version,
        "metadata": {field: meta[field] for field in fields if field in meta},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": str(chosen)},
    }


def take_replicas(obj: Json, replicas: int) -> Json:
    return {**obj, "spec": {**obj["spec"], "replicas": replicas}}


def _scaled(call: Call, view: View, old: Json, wanted: Json) -> Json:
    given = wanted["metadata"].get("resourceVersion")
    if given and given != old["metadata"]["resourceVersion"]:
        raise call.conflict(MODIFIED)
    uid = wanted["metadata"].get("uid")
    if uid and uid != old["metadata"]["uid"]:
        current = old["metadata"]["uid"]
        raise call.conflict(f"Precondition failed: UID in precondition: {uid}, UID in object meta: {current}")
    return view.take({**old, "metadata": dict(old["metadata"])}, _replicas(call, wanted))


def _replicas(call: Call, wanted: Json) -> int:
    replicas: int = (wanted.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        fault = invalid_field("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid(SCALE.name, call.name, fault, group=SCALE.group)
    return replicas


BUILTIN = View(scale_of, take_replicas)
