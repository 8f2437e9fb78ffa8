"""Discovery and OpenAPI documents, in the form and state that the client asks for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson

from kobune.api import protobuf
from kobune.api.errors import NotFound
from kobune.controlplane.apiserver.answers import page_not_found
from kobune.controlplane.apiserver.discovery import AGGREGATED_VERSIONS, Document
from kobune.controlplane.apiserver.negotiation import JSON, YAML, Accepted, accepted, encode_yaml
from kobune.controlplane.apiserver.request import Request, Response

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

PATHS = (
    "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2",
    "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
)  # fmt: skip


async def root(server: "ApiServer", request: Request) -> Response:
    """`/`: the paths there are."""
    groups = server.catalogue.groups()
    served = [f"/apis/{one.name}" for one in groups]
    served += [f"/apis/{one.name}/{version}" for one in groups for version in one.versions]
    return Response(200, orjson.dumps({"paths": sorted([*PATHS, *served])}))


async def api(server: "ApiServer", request: Request) -> Response:
    version = _aggregated(request)
    return _answer(request, server.discovery.aggregated("api", version) if version else server.discovery.versions())


async def apis(server: "ApiServer", request: Request) -> Response:
    version = _aggregated(request)
    return _answer(request, server.discovery.aggregated("apis", version) if version else server.discovery.groups())


async def group(server: "ApiServer", request: Request) -> Response:
    found = server.discovery.group(request.path.split("/")[2])
    return page_not_found() if found is None else _answer(request, found)


async def resources(server: "ApiServer", request: Request) -> Response:
    parts = request.path.rstrip("/").split("/")
    name, version = ("", parts[2]) if parts[1] == "api" else (parts[2], parts[3])
    found = server.discovery.resources(name, version)
    if found is None and name and server.discovery.group(name) is None:
        return page_not_found()
    return _answer(request, found)


async def openapi_v2(server: "ApiServer", request: Request) -> Response:
    accept = request.headers.get("accept") or ""
    if accept and "json" not in accept and "*/*" not in accept:
        return Response(406, b"", "")
    return _answer(request, server.openapi.v2(server.aggregator.descriptions()))


async def openapi_v3(server: "ApiServer", request: Request) -> Response:
    path = request.path.rstrip("/").removeprefix("/openapi/v3").lstrip("/")
    if not path:
        remotes = server.aggregator.remotes
        paths = {f"apis/{group}/{version}": one.openapi for (group, version), one in remotes.items() if one.openapi}
        return _answer(request, _with_paths(server.openapi.index(), paths) if paths else server.openapi.index())
    response = _answer(request, server.openapi.v3(path))
    if request.query.get("hash"):
        # The hash names the content: whatever has it never changes.
        response.headers = {**response.headers, "Cache-Control": "public, immutable", "Vary": "Accept"}
    return response


def _with_paths(index: Document, paths: Mapping[str, str]) -> Document:
    """The index of OpenAPI documents with those of aggregated servers."""
    document = orjson.loads(index.body)
    document["paths"] |= {path: {"serverRelativeURL": url} for path, url in paths.items()}
    return index._replace(body=orjson.dumps(document), etag="")


def _aggregated(request: Request) -> str:
    """The version of aggregated discovery that the client prefers to the classic form; empty for the latter."""
    for clause in (request.headers.get("accept") or "").split(","):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media_type not in ("application/json", "*/*"):
            continue
        if "as" not in values:
            return ""
        if values["as"] == "APIGroupDiscoveryList" and values.get("v") in AGGREGATED_VERSIONS:
            return values["v"]
    return ""


def _form(accept: str) -> Accepted:
    """The form of a classic discovery document. Raises NotAcceptable.

    Whoever wants protobuf alone gets JSON: what reads protobuf here reads that too.
    """
    return Accepted() if protobuf.MEDIA_TYPE in accept else accepted(accept, plain=True)


def _answer(request: Request, document: Document | None) -> Response:
    if document is None:
        raise NotFound("the server could not find the requested resource")
    if document.content_type == JSON and not request.path.startswith("/openapi/"):
        form = _form(request.headers.get("accept") or "")
        if form.media_type == YAML:
            return Response(200, encode_yaml(document.body), YAML, {"Vary": "Accept"})
    headers = {"Vary": "Accept"}
    if document.etag:
        headers["ETag"] = document.etag
        if request.headers.get("if-none-match") == document.etag:
            return Response(304, b"", document.content_type, headers)
    return Response(200, document.body, document.content_type, headers)
