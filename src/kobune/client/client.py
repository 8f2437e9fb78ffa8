"""Requests of the Kubernetes API with typed views as answers. What is written are explicit fields, never a view."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec
import orjson

from kobune.api.catalogue import Resource, find_builtin
from kobune.api.errors import ApiError, Gone, Json, NotFound, error_from_status
from kobune.api.objects.meta import Key, Object
from kobune.client.transport import Answer, Transport

T = TypeVar("T", bound=Object)

# The newest frames of watches whose views are kept for the next watcher, and how large such a frame may be.
SHARED_EVENTS, SHARED_BYTES = 512, 16 * 1024
# Objects asked for at a time, so that a large list is never in memory as a whole. Source: client-go's pager.
PAGE = 500


class Patch(StrEnum):
    """The content types of a patch."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


BOOKMARK = "BOOKMARK"


class Listing(NamedTuple, Generic[T]):
    items: list[T]
    revision: str  # The list's resourceVersion: watch from here.


class Event(msgspec.Struct, Generic[T], frozen=True, gc=False):
    type: str  # "ADDED", "MODIFIED", "DELETED" or "BOOKMARK".
    object: T  # Of a bookmark only the metadata means anything.


class _Frame(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Client:
    """The Kubernetes API over one transport.

    Every method takes the view to decode into; `resource` names the kind where the view does not (metadata-only views).
    Every method raises the ApiError that the server answered.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def get(self, view: type[T], key: Key, *, resource: Resource | None = None) -> T:
        """The object; raises NotFound."""
        path = (resource or resource_of(view)).path(key.namespace, key.name)
        return _decoder(view).decode(await self.call("GET", path))

    async def find(self, view: type[T], key: Key, *, resource: Resource | None = None) -> T | None:
        """The object, or None when there is none."""
        try:
            return await self.get(view, key, resource=resource)
        except NotFound:
            return None

    async def get_json(self, view: type[Object], key: Key, *, resource: Resource | None = None) -> Json:
        """The whole object, for those who write it back. Raises NotFound."""
        found: Json = orjson.loads(
            await self.call("GET", (resource or resource_of(view)).path(key.namespace, key.name))
        )
        return found

    async def list(
        self,
        view: type[T],
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        resource: Resource | None = None,
    ) -> Listing[T]:
        """All objects of one namespace (or of all) that match the selectors, as of now; with `limit` the first of them."""
        query = _selectors(labels, fields)
        if limit:
            query["limit"] = str(limit)
        path = (resource or resource_of(view)).path(namespace)
        decode = _list_decoder(view).decode
        page = decode(await self.call("GET", path, query={**query, "limit": str(PAGE)}))
        items, more = page.items, page.metadata.continue_
        while more:
            try:
                page = decode(await self.call("GET", path, query={**query, "limit": str(PAGE), "continue": more}))
            except Gone:
                # The state that the pages show is no longer kept: all at once, then.
                page = decode(await self.call("GET", path, query=query))
                items.clear()
            items += page.items
            more = page.metadata.continue_
        return Listing(items, page.metadata.resource_version)

    async def watch(
        self,
        view: type[T],
        namespace: str = "",
        *,
        revision: str,
        labels: str = "",
        fields: str = "",
        resource: Resource | None = None,
    ) -> AsyncIterator[Event[T]]:
        """Changes after `revision`, bookmarks among them, until the server ends the watch. Raises Gone when too old."""
        query = {
            "watch": "true",
            "resourceVersion": revision,
            "allowWatchBookmarks": "true",
            **_selectors(labels, fields),
        }
        async for line in self.transport.stream((resource or resource_of(view)).path(namespace), query=query):
            yield _newest.event(view, line) if len(line) <= SHARED_BYTES else _event(view, line)

    async def create(self, view: type[T], manifest: Json, *, resource: Resource | None = None) -> T:
        """The object as created; kind and apiVersion are filled in from the view. Raises AlreadyExists, Invalid, …"""
        return _decoder(view).decode(await self.add(view, manifest, resource=resource))

    async def add(self, view: type[Object], manifest: Json, *, resource: Resource | None = None) -> bytes:
        """`create` for those who do not read the answer: its bytes."""
        body = {"apiVersion": view.gvk.api_version, "kind": view.gvk.kind, **manifest}
        path = (resource or resource_of(view)).path(manifest["metadata"].get("namespace", ""))
        return await self.call("POST", path, body=orjson.dumps(body))

    async def create_subresource(self, view: type[Object], key: Key, subresource: str, body: Json) -> bytes:
        """POST to a subresource (binding, eviction, token); the answer's bytes."""
        path = resource_of(view).path(key.namespace, key.name, subresource)
        return await self.call("POST", path, body=orjson.dumps(body))

    async def update(
        self, view: type[T], manifest: Json, *, subresource: str = "", resource: Resource | None = None
    ) -> T:
        """Replace the object with a whole manifest. Raises Conflict when its resourceVersion is stale."""
        meta = manifest["metadata"]
        path = (resource or resource_of(view)).path(meta.get("namespace", ""), meta["name"], subresource)
        return _decoder(view).decode(await self.call("PUT", path, body=orjson.dumps(manifest)))

    async def patch(
        self,
        view: type[T],
        key: Key,
        patch: Json | Sequence[Json],
        *,
        how: Patch = Patch.MERGE,
        subresource: str = "",
        resource: Resource | None = None,
    ) -> T:
        """Change explicit fields. A `metadata.resourceVersion` inside the patch makes it conditional."""
        answer = await self.change(view, key, patch, how=how, subresource=subresource, resource=resource)
        return _decoder(view).decode(answer)

    async def change(
        self,
        view: type[Object],
        key: Key,
        patch: Json | Sequence[Json],
        *,
        how: Patch = Patch.MERGE,
        subresource: str = "",
        resource: Resource | None = None,
    ) -> bytes:
        """`patch` for those who do not read the answer: its bytes."""
        path = (resource or resource_of(view)).path(key.namespace, key.name, subresource)
        return await self.call("PATCH", path, body=orjson.dumps(patch), content_type=how)

    async def patch_status(self, view: type[T], key: Key, status: Json, *, how: Patch = Patch.MERGE) -> T:
        """Change explicit fields of the status."""
        return await self.patch(view, key, {"status": status}, how=how, subresource="status")

    async def delete(
        self,
        view: type[Object],
        key: Key,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        propagation: str = "",
        resource: Resource | None = None,
    ) -> None:
        """Delete the object, provided it still has `uid` and `resource_version` when those are given (else Conflict)."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if any(preconditions.values()):
            options["preconditions"] = {field: value for field, value in preconditions.items() if value}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation:
            options["propagationPolicy"] = propagation
        path = (resource or resource_of(view)).path(key.namespace, key.name)
        await self.call("DELETE", path, body=orjson.dumps(options))

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
    ) -> bytes:
        """The body of a successful answer to any request; raises the ApiError of a failed one."""
        answer = await self.transport.request(method, path, query=query or {}, body=body, content_type=content_type)
        if answer.status >= 300:
            raise error_of(answer)
        return answer.body


@cache
def resource_of(view: type[Object]) -> Resource:
    """Where the view's kind is served, by the catalogue."""
    kind = find_builtin(*view.gvk)
    if kind is None:
        raise LookupError(f"{view.__name__} is not a built-in kind: pass its resource")
    return kind.resource


def error_of(answer: Answer) -> ApiError:
    """The exception for a failed answer, with or without a Status body."""
    try:
        status = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = answer.body.decode(errors="replace").strip() or f"the server answered {answer.status}"
        status = {"message": text, "code": answer.status}
    return error_from_status(status)


def _selectors(labels: str, fields: str) -> dict[str, str]:
    query = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in query.items() if value}


def _event(view: type[T], line: bytes) -> Event[T]:
    """One frame of a watch. Raises the ApiError in a frame that brings one."""
    try:
        event = _event_decoder(view).decode(line)
    except msgspec.ValidationError:
        _raise_error(line)  # Its object is a Status, which the view need not fit.
        frame = _frames.decode(line)
        if frame.type != BOOKMARK:
            raise
        return Event(frame.type, cast("T", _metadata.decode(frame.object)))
    if event.type == "ERROR":
        _raise_error(line)
    return event


class _NewestEvents:
    """What the newest frames were read as: watchers of one kind in this process are handed the same bytes at about the
    same time, and views are shared anyway. The same bytes are the same object: to compare them would take as long as to
    read them.
    """

    def __init__(self) -> None:
        self._read: OrderedDict[int, tuple[bytes, dict[type[Object], Event[Any]]]] = OrderedDict()  # By the line's id.

    def event(self, view: type[T], line: bytes) -> Event[T]:
        known = self._read.get(id(line))
        if known is None:
            known = self._read[id(line)] = line, {}  # As long as the line is kept, no other one has its id.
            if len(self._read) > SHARED_EVENTS:
                self._read.popitem(last=False)
        event = known[1].get(view)
        if event is None:
            event = known[1][view] = _event(view, line)
        return event


_newest = _NewestEvents()


def _raise_error(line: bytes) -> None:
    frame = _frames.decode(line)
    if frame.type == "ERROR":
        raise error_from_status(orjson.loads(bytes(frame.object)))


_frames = msgspec.json.Decoder(_Frame)
# Upstream's bookmarks are objects without content, which not every view takes: lists that must be there are null.
_metadata = msgspec.json.Decoder(Object, strict=False)


class _Page(msgspec.Struct, Generic[T]):
    items: list[T]
    metadata: _ListMeta


def _decoder(view: type[T]) -> msgspec.json.Decoder[T]:
    return cast("msgspec.json.Decoder[T]", _decoder_of(view))


def _list_decoder(view: type[T]) -> msgspec.json.Decoder[_Page[T]]:
    return cast("msgspec.json.Decoder[_Page[T]]", _decoder_of(view, _Page))


def _event_decoder(view: type[T]) -> msgspec.json.Decoder[Event[T]]:
    return cast("msgspec.json.Decoder[Event[T]]", _decoder_of(view, Event))


@cache
def _decoder_of(view: Any, around: Any = None) -> object:
    shape = around[view] if around else view
    return msgspec.json.Decoder(shape, strict=False)  # Not strict: "5" is read as 5 where a view says int.
