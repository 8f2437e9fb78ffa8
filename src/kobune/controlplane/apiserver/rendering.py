"""Objects and lists in the forms a client may ask for: as they are, as metadata alone, or as a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.clock import Clock
from kobune.api.errors import BadRequest, Json
from kobune.controlplane.apiserver.answers import document
from kobune.controlplane.apiserver.negotiation import Accepted
from kobune.controlplane.apiserver.registry.reading import Results, list_body, list_head
from kobune.controlplane.apiserver.request import Response
from kobune.controlplane.apiserver.tables import find_printer, render_table
from kobune.controlplane.store.encoding import bookmark, frame
from kobune.controlplane.store.watchers import Bookmark, Render

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

META = "meta.k8s.io/v1"
INCLUDED = ("", "None", "Metadata", "Object")  # What the rows of a table may carry.


def render_object(
    server: "ApiServer", kind: Kind, body: bytes, form: Accepted, query: Mapping[str, str], *, status: int = 200
) -> Response:
    """One object as the client wants it."""
    if form.rendering == "PartialObjectMetadata":
        body = metadata_only(body)
    elif form.rendering == "Table":
        obj = orjson.loads(body)
        version = obj["metadata"].get("resourceVersion", "")
        table = render_table(
            find_printer(kind),
            [obj],
            now=server.clock.now(),
            include=included(query),
            metadata={"resourceVersion": version},
        )
        body = orjson.dumps(table)
    return document(body, form, status)


def render_list(server: "ApiServer", kind: Kind, found: Results, form: Accepted, query: Mapping[str, str]) -> Response:
    """A list as the client wants it."""
    if form.rendering in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        items = b",".join([metadata_only(body) for body in found.bodies])
        return document(list_head("PartialObjectMetadataList", META, found) + items + b"]}\n", form)
    if form.rendering == "Table":
        metadata: Json = orjson.loads(list_head("", "", found) + b"]}")["metadata"]
        objects = map(orjson.loads, found.bodies)
        now, include = server.clock.now(), included(query)
        table = render_table(find_printer(kind), objects, now=now, include=include, metadata=metadata)
        return document(orjson.dumps(table), form)
    return document(list_body(kind, found), form)


def watch_render(
    server: "ApiServer", kind: Kind, form: Accepted, query: Mapping[str, str]
) -> tuple[Render, Bookmark | None]:
    """What makes the frames and the bookmarks of a watch; the same function for the same form, so that frames are shared."""
    if form.rendering == "PartialObjectMetadata":
        return _metadata_frame, _metadata_bookmark
    if form.rendering == "Table":
        return server.table_render(kind, included(query)), _table_bookmark
    return server.plain_render(kind), None


def included(query: Mapping[str, str]) -> str:
    """The includeObject parameter. Raises BadRequest."""
    value = query.get("includeObject", "")
    if value not in INCLUDED:
        raise BadRequest(f'Invalid value "{value}": includeObject must be one of None, Metadata, Object')
    return value or "Metadata"


def table_render(clock: Clock, plain: Render, kind: Kind, include: str) -> Render:
    """Frames whose object is a table of one row. Each describes the columns: watchers that begin later share them."""

    def render(event: bytes, body: bytes) -> bytes:
        obj = orjson.loads(plain(event, body))["object"]
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        table = render_table(find_printer(kind), [obj], now=clock.now(), include=include, metadata=metadata)
        return frame(event, orjson.dumps(table))

    return render


def _table_bookmark(revision: int, initial_events_end: bool) -> bytes:
    return bookmark("Table", META, revision, initial_events_end)


def metadata_only(body: bytes) -> bytes:
    obj: Json = orjson.loads(body)
    return orjson.dumps({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]})


def _metadata_frame(event: bytes, body: bytes) -> bytes:
    return frame(event, metadata_only(body))


def _metadata_bookmark(revision: int, initial_events_end: bool) -> bytes:
    return bookmark("PartialObjectMetadata", META, revision, initial_events_end)
