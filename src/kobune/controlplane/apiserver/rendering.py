"""Objects and lists in the forms a client may ask for: as they are, or as metadata alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.controlplane.apiserver.answers import document
from kobune.controlplane.apiserver.negotiation import Accepted
from kobune.controlplane.apiserver.registry.reading import Results, list_body, list_head
from kobune.controlplane.apiserver.request import Response
from kobune.controlplane.store.encoding import bookmark, frame
from kobune.controlplane.store.watchers import Bookmark, Render

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

META = "meta.k8s.io/v1"


def render_object(
    server: "ApiServer", kind: Kind, body: bytes, form: Accepted, query: Mapping[str, str], *, status: int = 200
) -> Response:
    """One object as the client wants it."""
    if form.rendering == "PartialObjectMetadata":
        body = metadata_only(body)
    return document(body, form, status)


def render_list(server: "ApiServer", kind: Kind, found: Results, form: Accepted, query: Mapping[str, str]) -> Response:
    """A list as the client wants it."""
    if form.rendering in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        items = b",".join([metadata_only(body) for body in found.bodies])
        return document(list_head("PartialObjectMetadataList", META, found) + items + b"]}\n", form)
    return document(list_body(kind, found), form)


def watch_render(
    server: "ApiServer", kind: Kind, form: Accepted, query: Mapping[str, str]
) -> tuple[Render, Bookmark | None]:
    """What makes the frames and the bookmarks of a watch; the same function for the same form, so that frames are shared."""
    if form.rendering == "PartialObjectMetadata":
        return _metadata_frame, _metadata_bookmark
    return server.plain_render(kind), None


def metadata_only(body: bytes) -> bytes:
    obj: Json = orjson.loads(body)
    return orjson.dumps({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]})


def _metadata_frame(event: bytes, body: bytes) -> bytes:
    return frame(event, metadata_only(body))


def _metadata_bookmark(revision: int, initial_events_end: bool) -> bytes:
    return bookmark("PartialObjectMetadata", META, revision, initial_events_end)
