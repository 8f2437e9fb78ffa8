"""What the subresources that take an object of another kind have in common."""

from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json, MethodNotAllowed
from kobune.api.schema import Schema, load_schemas
from kobune.controlplane.apiserver.registry.decoding import decode_object
from kobune.controlplane.apiserver.request import Request
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

SUCCESS = orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})


def read_posted(server: "ApiServer", request: Request, info: RequestInfo, kind: Kind) -> Json:
    """The posted object of `kind`. Raises MethodNotAllowed for anything but a POST, BadRequest for another kind."""
    if request.method != "POST":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    return read_as(server, request, kind)


def read_as(server: "ApiServer", request: Request, kind: Kind) -> Json:
    """The body as an object of `kind`, checked against its schema."""
    return decode_object(
        request.body,
        request.headers.get("content-type") or "",
        kind,
        schema_of(server, kind),
        validation=request.query.get("fieldValidation", "") or "Warn",
        warnings=request.warnings,
    )


def schema_of(server: "ApiServer", kind: Kind) -> Schema | None:
    return load_schemas(server.config.cluster_version).find(kind.group, kind.version, kind.name)
