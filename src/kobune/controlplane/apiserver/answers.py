"""Answers: success and failure Statuses, and objects in the form the client wants."""

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, Json, status_of
from kobune.controlplane.apiserver.negotiation import JSON, YAML, Accepted, encode_yaml
from kobune.controlplane.apiserver.request import Response


def failure(error: ApiError) -> Response:
    headers = {}
    if error.retry_after_seconds:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return Response(error.code, orjson.dumps(status_of(error)) + b"\n", headers=headers)


def page_not_found() -> Response:
    """For a path that is nobody's; what has the form of a resource gets a Status."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8", headers)


def success(kind: Kind, name: str, uid: str) -> bytes:
    """The Status that answers a completed deletion."""
    details: Json = {"name": name, "kind": kind.plural}
    if kind.group:
        details["group"] = kind.group
    if uid:
        details["uid"] = uid
    return orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})


def document(body: bytes, accepted: Accepted, status: int = 200) -> Response:
    """A JSON document in the media type that the client wants."""
    if accepted.media_type == YAML:
        return Response(status, encode_yaml(body), content_type=YAML)
    return Response(status, body, content_type=JSON)


def with_warnings(response: Response, warnings: list[str]) -> Response:
    """The response with its Warning header; one header holds all of them."""
    if warnings:
        unique = dict.fromkeys(warnings)
        value = ", ".join(f"299 - {_quoted(text)}" for text in unique)
        response.headers = {**response.headers, "Warning": value}
    return response


def _quoted(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    escaped = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
