"""Media types: what the client accepts, what it sent, and bodies in either of the two forms."""

from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from kobune.api import protobuf
from kobune.api.depth import check_depth
from kobune.api.duplicates import duplicate_fields
from kobune.api.errors import BadRequest, NotAcceptable, UnsupportedMediaType

JSON = "application/json"
YAML = "application/yaml"
SERVED = f"{JSON}, {YAML}"
READ = f"{SERVED}, {protobuf.MEDIA_TYPE}"


class Accepted(NamedTuple):
    media_type: str = JSON
    rendering: str = ""  # "", "Table", "PartialObjectMetadata" or "PartialObjectMetadataList".


@lru_cache(maxsize=256)
def accepted(header: str, *, plain: bool = False) -> Accepted:
    """The first form in an Accept header that is served; parameters that do not concern us are skipped.

    Args:
        plain: the answer has no metadata, so it cannot be a table or metadata alone.
    Raises:
        NotAcceptable: nothing in the header is served, as when only protobuf is wanted.
    """
    if not header:
        return Accepted()
    clauses = []
    for position, clause in enumerate(header.split(",")):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        clauses.append((-_weight(values.get("q", "1")), position, media_type, values))
    for _, _, media_type, values in sorted(clauses, key=lambda clause: clause[:2]):
        if media_type in ("*/*", "application/*"):
            media_type = JSON
        if media_type not in (JSON, YAML):
            continue
        rendering = values.get("as", "")
        if rendering:
            known = rendering in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
            if plain or not known or values.get("g") != "meta.k8s.io" or values.get("v") != "v1":
                continue
        return Accepted(media_type, rendering)
    if any(clause[2] in (JSON, YAML, "*/*", "application/*") for clause in clauses):
        raise NotAcceptable(f"only the following media types are accepted: {SERVED}")
    raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {SERVED}")


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


@lru_cache(maxsize=256)
def media_type_of(content_type: str) -> str:
    """The bare media type of a Content-Type header."""
    return content_type.partition(";")[0].strip()


def decode_body(body: bytes, content_type: str, *, kind: str = "Object") -> Any:
    """The JSON value in a body that is JSON, YAML or protobuf; without a Content-Type it is JSON.

    Args:
        kind: what the body should be, for the complaint; "" when that goes without saying.

    Raises:
        UnsupportedMediaType: another format.
        BadRequest: not a document of that format.
    """
    media_type = media_type_of(content_type)
    if media_type in (JSON, ""):
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            words = f"couldn't get version/kind; json parse error: {parse_problem(body, error)}"
            if kind:
                words = f"the object provided is unrecognized (must be of type {kind}): {words} ({summary(body)})"
            raise BadRequest(words) from error
        check_depth(document, body)
        return document
    if media_type in (YAML, "application/x-yaml", "text/yaml"):
        return decode_yaml(body)
    if media_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {READ}"
    )


def decode_yaml(body: bytes) -> Any:
    """The JSON value of a YAML document. Raises BadRequest."""
    # Here, because few requests need YAML and starting fast matters.
    from kobune.controlplane.apiserver.yaml_json import load_yaml

    try:
        document = load_yaml(body)
    except ValueError as error:
        raise BadRequest(f"error converting YAML to JSON: yaml: {error}") from error
    check_depth(document, body)
    return document


def repeated_keys(body: bytes) -> list[str]:
    """What is wrong with a YAML document whose maps give a key twice, line by line."""
    try:
        if not duplicate_fields(body, orjson.loads(body)):
            return []  # JSON is YAML, and most clients send it.
    except orjson.JSONDecodeError:
        pass
    from kobune.controlplane.apiserver.yaml_json import keys_set_twice

    return keys_set_twice(body)


def encode_yaml(document: bytes) -> bytes:
    """The YAML form of a JSON document."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(orjson.loads(document), Dumper=dumper, default_flow_style=False, sort_keys=True)
    return text.encode()


def summary(body: bytes) -> str:
    """The first 30 bytes, as upstream shows an unreadable body: an object as text, anything else in hexadecimal."""
    if not body:
        return "<empty>"
    start = body[:30]
    shown = start.decode(errors="replace") if start.startswith(b"{") else start.hex()
    return f"{shown} ..." if len(body) > 30 else shown


def parse_problem(body: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong with a body that is no JSON, in the words of Go's reader where they are known."""
    if not body.strip() or "unexpected end" in error.msg:
        return "unexpected end of JSON input"
    if error.pos == 0:
        return f"invalid character '{chr(body.lstrip()[0])}' looking for beginning of value"
    return str(error)
