"""The verbs on resources, from query and body to the registry and back to an answer."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import SUBRESOURCES
from kobune.api.errors import BadRequest, Json, MethodNotAllowed, NotFound
from kobune.controlplane.apiserver.answers import document, success
from kobune.controlplane.apiserver.negotiation import accepted, decode_body, media_type_of
from kobune.controlplane.apiserver.options import (
    DEFAULT_LIST,
    DeleteOptions,
    delete_options,
    list_options,
    write_options,
)
from kobune.controlplane.apiserver.registry import applying, create, delete, patching, reading, update
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.decoding import decode_object, not_an_object
from kobune.controlplane.apiserver.rendering import render_list, render_object, watch_render
from kobune.controlplane.apiserver.request import MASTER, Request, Response
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

NOT_ALLOWED = "the server does not allow this method on the requested resource"
Handler = Callable[["ApiServer", Request, RequestInfo], Awaitable[Response]]


def missing_resource() -> NotFound:
    """For a path that names no kind being served."""
    return NotFound("the server could not find the requested resource")


def check_verb(info: RequestInfo, verbs: Sequence[str]) -> None:
    """Raises MethodNotAllowed for a verb that is none of these."""
    if info.verb not in verbs:
        raise MethodNotAllowed(NOT_ALLOWED)


async def serve(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Answer a request for a resource, or for a subresource that updates a part of one."""
    if info.subresource:
        # A proxy passes on what is no verb of ours.
        if info.verb and info.kind is not None and info.subresource in info.kind.subresources:
            check_verb(info, SUBRESOURCES[info.subresource].verbs)
        handler = server.subresources.get((info.group, info.plural, info.subresource))
        if handler is not None:
            return await handler(server, request, info)
    virtual = server.virtual.get((info.group, info.plural))
    if virtual is not None and not info.subresource:
        return await virtual(server, request, info)
    kind = info.kind
    if kind is None or info.rest:
        raise missing_resource()
    if kind.custom:
        server.registry.custom.warn(kind, request.warnings)
    if info.subresource:
        handler = server.parts.get(info.subresource) if info.subresource in kind.subresources else None
        if handler is None:
            raise missing_resource()
        return await handler(server, request, info)
    if info.verb not in VERBS or (info.verb == "create" and info.name):
        raise MethodNotAllowed(NOT_ALLOWED)
    check_verb(info, kind.verbs)
    if kind.namespaced and not info.namespace:
        if info.verb == "create":
            raise BadRequest("an empty namespace may not be set during creation")
        if info.name:
            raise missing_resource()
    return await VERBS[info.verb](server, request, info)


async def get_one(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    assert info.kind is not None
    form = accepted(request.headers.get("accept") or "")
    wanted = request.query.get("resourceVersion", "")
    if wanted and wanted != "0":
        await reading.reach(server.registry, reading.resource_version(wanted))
    elif not wanted:
        await server.registry.refresh()
    body = await reading.get(server.registry, info.kind, info.namespace, info.name)
    return render_object(server, info.kind, body, form, request.query)


async def list_many(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    assert info.kind is not None
    form = accepted(request.headers.get("accept") or "")
    options = list_options(request.query) if request.query else DEFAULT_LIST
    registry = server.registry
    listing = await reading.list_items(registry, info.kind, info.namespace, options)
    found = reading.results(registry, info.kind, listing, info.kind.prefix)
    return render_list(server, info.kind, found, form, request.query)


async def watch(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    assert info.kind is not None
    form = accepted(request.headers.get("accept") or "")
    options = list_options(request.query, watching=True)
    render, mark = watch_render(server, info.kind, form, request.query)
    begun = await reading.watch(
        server.registry, info.kind, info.namespace, info.name, options, render=render, mark=mark
    )
    return Response(200, begun.frames, watcher=begun.watcher)


async def create_one(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    form, call = accepted(request.headers.get("accept") or ""), new_call(server, request, info)
    registry, content_type = server.registry, request.headers.get("content-type") or ""
    seen = registry.patterns.see(call, request.body, content_type, registry.feed.revision)
    body = await create.repeat(registry, call, seen) if seen is not None else None
    if body is None:
        obj = read_object(server, request, call)
        registry.default(call.kind, obj)
        body = await create.create(registry, call, obj, seen)
    return render_object(server, call.kind, body, form, request.query, status=201)


async def update_one(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    return await _update(server, request, info, update.whole)


async def patch_one(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    return await _patch(server, request, info, update.whole)


async def delete_one(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    form, options = accepted(request.headers.get("accept") or ""), read_delete_options(request)
    call = new_call(server, request, info, writing=False)
    deleted = await delete.delete(server.registry, call, options)
    if delete.answers_object(call, deleted):
        # What waits for finalizers or its grace period is still there.
        return render_object(server, call.kind, deleted.body, form, request.query)
    meta: Json = orjson.loads(deleted.body)["metadata"]
    return document(success(call.kind, call.name, meta.get("uid", "")), form)


async def delete_many(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    form, options = accepted(request.headers.get("accept") or ""), read_delete_options(request)
    call = new_call(server, request, info, writing=False)
    listing = await reading.list_items(server.registry, call.kind, info.namespace, list_options(request.query))
    bodies = await delete.delete_collection(server.registry, call, options, list(listing.items))
    found = reading.Results(bodies, server.registry.feed.revision, "", 0)
    return render_list(server, call.kind, found, form, request.query)


async def status(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    return await part(server, request, info, update.status)


async def part(server: "ApiServer", request: Request, info: RequestInfo, prepare: update.Prepare) -> Response:
    """A subresource that is the object itself, of which a part can be changed."""
    match info.verb:
        case "get":
            return await get_one(server, request, info)
        case "update":
            return await _update(server, request, info, prepare)
        case "patch":
            return await _patch(server, request, info, prepare)
    raise MethodNotAllowed(NOT_ALLOWED)


async def _update(server: "ApiServer", request: Request, info: RequestInfo, prepare: update.Prepare) -> Response:
    form, call = accepted(request.headers.get("accept") or ""), new_call(server, request, info)
    obj = read_object(server, request, call)
    server.registry.default(call.kind, obj)
    outcome = await update.update(server.registry, call, obj, prepare=prepare)
    return render_object(
        server, call.kind, outcome.body, form, request.query, status=201 if outcome.created else 200
    )  # fmt: skip


async def _patch(server: "ApiServer", request: Request, info: RequestInfo, prepare: update.Prepare) -> Response:
    form, call = accepted(request.headers.get("accept") or ""), new_call(server, request, info)
    content_type = request.headers.get("content-type") or ""
    if media_type_of(content_type) in applying.APPLY_PATCHES:
        outcome = await applying.apply_patch(server.registry, call, request.body, prepare=prepare)
        status = 201 if outcome.created else 200
        return render_object(server, call.kind, outcome.body, form, request.query, status=status)
    asked = patching.decode_patch(
        request.body, content_type, custom=call.kind.custom, validation=call.options.field_validation
    )
    body = await patching.patch(server.registry, call, asked, prepare=prepare)
    return render_object(server, call.kind, body, form, request.query)


def new_call(server: "ApiServer", request: Request, info: RequestInfo, *, writing: bool = True) -> Call:
    assert info.kind is not None
    return Call(
        info.kind,
        info.namespace if info.kind.namespaced else "",
        info.name,
        request.user or MASTER,
        server.clock.now(),
        write_options(request.query) if writing else write_options({}),
        subresource=info.subresource,
        verb=info.verb,
        user_agent=request.headers.get("user-agent") or "",
        warnings=request.warnings,
        annotations=request.annotations,
    )


def read_object(server: "ApiServer", request: Request, call: Call) -> Json:
    """The object in the body, checked but not defaulted."""
    return decode_object(
        request.body,
        request.headers.get("content-type") or "",
        call.kind,
        server.registry.schema(call.kind),
        validation=call.options.field_validation,
        warnings=call.warnings,
    )


def read_delete_options(request: Request) -> DeleteOptions:
    body = decode_body(request.body, request.headers.get("content-type") or "", kind="") if request.body else None
    if not isinstance(body, dict | None):
        raise not_an_object(body, "")
    return delete_options(request.query, body)


VERBS: dict[str, Handler] = {
    "get": get_one,
    "list": list_many,
    "watch": watch,
    "create": create_one,
    "update": update_one,
    "patch": patch_one,
    "delete": delete_one,
    "deletecollection": delete_many,
}
