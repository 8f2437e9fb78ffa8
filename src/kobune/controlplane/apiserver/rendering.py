"""Objects and lists in the forms a client may ask for: as they are, as tables, or as metadata alone."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import BadRequest, Json
from kobune.controlplane.apiserver.answers import document
from kobune.controlplane.apiserver.negotiation import JSON, Accepted
from kobune.controlplane.apiserver.registry.reading import Results, list_body, list_chunks, list_head
from kobune.controlplane.apiserver.request import Response
from kobune.controlplane.store.encoding import INITIAL_EVENTS_END, bookmark, frame
from kobune.controlplane.store.watchers import Bookmark, Render

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

META = "meta.k8s.io/v1"
WHOLE_BYTES = 4 * 2**20  # A larger list is sent in parts, uncompressed; many clients at once then cost no memory.


def render_object(
    server: "ApiServer", kind: Kind, body: bytes, form: Accepted, query: Mapping[str, str], *, status: int = 200
) -> Response:
    """One object as the client wants it."""
    if form.rendering == "Table":
        obj: Json = orjson.loads(body)
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        body = _table(server, kind, [obj], metadata, _include(query))
    elif form.rendering == "PartialObjectMetadata":
        body = metadata_only(body)
    return document(body, form, status)


def render_list(server: "ApiServer", kind: Kind, found: Results, form: Accepted, query: Mapping[str, str]) -> Response:
    """A list as the client wants it."""
    if form.rendering == "Table":
        metadata: Json = {"resourceVersion": str(found.revision)}
        if found.continue_:
            metadata["continue"] = found.continue_
            if found.remaining:
                metadata["remainingItemCount"] = found.remaining
        objects = [orjson.loads(body) for body in found.bodies]
        return document(_table(server, kind, objects, metadata, _include(query)), form)
    if form.rendering in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        items = b",".join([metadata_only(body) for body in found.bodies])
        return document(list_head("PartialObjectMetadataList", META, found) + items + b"]}\n", form)
    if form.media_type == JSON and sum(map(len, found.bodies)) > WHOLE_BYTES:
        return Response(200, _in_parts(list_chunks(kind, found)), content_type=JSON)
    return document(list_body(kind, found), form)


async def _in_parts(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def watch_render(
    server: "ApiServer", kind: Kind, form: Accepted, query: Mapping[str, str]
) -> tuple[Render, Bookmark | None]:
    """What makes the frames and the bookmarks of a watch; the same function for the same form, so that frames are shared."""
    if form.rendering == "Table":
        return server.table_render(kind, _include(query)), _table_bookmark
    if form.rendering == "PartialObjectMetadata":
        return _metadata_frame, _metadata_bookmark
    return server.plain_render(kind), None


def table_render(server: "ApiServer", kind: Kind, include: str) -> Render:
    """Frames that are tables of one row."""

    def render(event: bytes, body: bytes) -> bytes:
        obj: Json = orjson.loads(server.registry.body_in(kind, body))
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return frame(event, _table(server, kind, [obj], metadata, include))

    return render


def _table(server: "ApiServer", kind: Kind, objects: list[Json], metadata: Json, include: str) -> bytes:
    # Here, because only people ask for tables, and starting fast matters.
    from kobune.controlplane.apiserver.tables import render_table

    return orjson.dumps(
        render_table(server.printer(kind), objects, now=server.clock.now(), include=include, metadata=metadata)
    )


def _include(query: Mapping[str, str]) -> str:
    """What each row carries. Raises BadRequest."""
    include = query.get("includeObject", "") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise BadRequest(f'unrecognized includeObject value: "{include}"')
    return include


def _table_bookmark(revision: int, initial_events_end: bool) -> bytes:
    """A table without rows whose only content is the revision."""
    metadata: Json = {"resourceVersion": str(revision)}
    if initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    row = {"cells": None, "object": {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": metadata}}
    table = {"kind": "Table", "apiVersion": META, "metadata": {"resourceVersion": str(revision)}, "rows": [row]}
    return frame(b"BOOKMARK", orjson.dumps({**table, "columnDefinitions": None}))


def metadata_only(body: bytes) -> bytes:
    obj: Json = orjson.loads(body)
    return orjson.dumps({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]})


def _metadata_frame(event: bytes, body: bytes) -> bytes:
    return frame(event, metadata_only(body))


def _metadata_bookmark(revision: int, initial_events_end: bool) -> bytes:
    return bookmark("PartialObjectMetadata", META, revision, initial_events_end)
