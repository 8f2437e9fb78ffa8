"""Objects in Kubernetes' protobuf encoding, read into the JSON form: many Go clients send no other when they create.

`protobuf_fields.json` says for each message what its numbered fields are: `name:MARKS TYPE`, where an empty name is a
message whose fields stand in the outer object, `[]` is a list, `{}` a map from strings, `*` keeps a zero because the
field is optional, and `!` keeps it because the field is always written. Source: the field numbers and JSON names of the
published API types, 1.36.
"""

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import orjson

from kobune.api.errors import BadRequest, Json, UnsupportedMediaType
from kobune.api.timestamps import format_micro, format_time

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"  # Source: Kubernetes API concepts, protobuf encoding.
DEEPEST = 100  # Messages inside one another; what is deeper is no object of ours.

# Wire types. Source: the protobuf encoding guide.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """The bytes are no message."""


class Field(NamedTuple):
    name: str
    is_list: bool
    is_map: bool
    keeps_zero: bool
    type: str


def decode(body: bytes) -> Json:
    """The object in an enveloped body, with its kind and apiVersion.

    Raises:
        BadRequest: no envelope, or a malformed message; UnsupportedMediaType: a kind not known in this encoding.
    """
    if not body.startswith(MAGIC):
        raise BadRequest("the body of the request is not in Kubernetes' protobuf encoding")
    try:
        envelope = _message("runtime.Unknown", body[len(MAGIC) :], 0)
        meta = envelope.get("typeMeta", {})
        api_version, kind = meta.get("apiVersion", ""), meta.get("kind", "")
        name = message_name(api_version, kind)
        if name not in _table():
            raise UnsupportedMediaType(
                f"{kind} in {api_version} is not accepted as {MEDIA_TYPE}; send application/json"
            )
        content = _message(name, base64.b64decode(envelope.get("raw", "")), 0)
    except (Malformed, UnicodeDecodeError, OverflowError, orjson.JSONDecodeError) as error:
        raise BadRequest(f"the body of the request is not a well-formed message: {error}") from error
    return {"kind": kind, "apiVersion": api_version, **content}


def message_name(api_version: str, kind: str) -> str:
    """The message of a kind: `core.v1.Pod` for Pod in v1, `rbac.v1.Role` for Role in rbac.authorization.k8s.io/v1."""
    group, _, version = api_version.rpartition("/")
    if kind == "DeleteOptions":
        return "apis.meta.v1.DeleteOptions"
    return f"{group.partition('.')[0] or 'core'}.{version}.{kind}"


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = orjson.loads(files("kobune.api").joinpath("protobuf_fields.json").read_bytes())
    return table


@cache
def _fields(message: str) -> dict[int, Field]:
    rows = {}
    for number, text in _table()[message].items():
        name, _, marked = text.partition(":")
        plain = marked.lstrip("[]{}*!")
        marks = marked[: len(marked) - len(plain)]
        rows[int(number)] = Field(name, "[]" in marks, "{}" in marks, "*" in marks or "!" in marks, plain)
    return rows


def _message(message: str, data: bytes, depth: int) -> Json:
    """The message's JSON form; unknown fields are passed over, as in every protobuf reader."""
    if depth > DEEPEST:
        raise Malformed("messages nest too deeply")
    fields = _fields(message)
    result: Json = {}
    for number, raw in _parts(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.is_map:
            key, value = _map_entry(field.type, raw, depth)
            result.setdefault(field.name, {})[key] = value
            continue
        value = _value(field.type, raw, depth)
        if field.is_list:
            result.setdefault(field.name, []).append(value)
        elif not field.name:
            result.update(value)
        elif field.keeps_zero or (value is not None and value != "" and value is not False and value != 0):
            result[field.name] = value
    return result


def _map_entry(value_type: str, raw: "int | bytes", depth: int) -> tuple[str, Any]:
    key, value = "", _value(value_type, b"", depth + 1)
    for number, part in _parts(_bytes(raw)):
        if number == 1:
            key = _bytes(part).decode()
        elif number == 2:
            value = _value(value_type, part, depth + 1)
    return key, value


def _value(kind: str, raw: "int | bytes", depth: int) -> Any:
    scalar = SCALARS.get(kind)
    if scalar is not None:
        return scalar(raw)
    special = SPECIAL.get(kind)
    if special is not None:
        return special(dict(_parts(_bytes(raw))))
    if kind in SCHEMA_OR:
        return _schema_or(SCHEMA_OR[kind], _bytes(raw), depth)
    value = _message(kind, _bytes(raw), depth + 1)
    return value.get("items", []) if kind.endswith(".ExtraValue") else value


def _schema_or(other: str, data: bytes, depth: int) -> Any:
    """A schema where something else may stand: `other` is the type of that, and its field is a list unless it is a bool."""
    parts = list(_parts(data))
    schemas = [part for number, part in parts if number == (2 if other == "bool" else 1)]
    if schemas:
        return _value(SCHEMA, schemas[-1], depth)
    if other == "bool":
        return _value(other, dict(parts).get(1, 0), depth)
    return [_value(other, part, depth) for number, part in parts if number == 2]


def _parts(data: bytes) -> "Iterator[tuple[int, int | bytes]]":
    """Field number and raw content of each field, in order."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == BYTES:
            length, at = _varint(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise Malformed(f"wire type {wire}")
        if at + length > end:
            raise Malformed("it ends in the middle of a field")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("a number has no end")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7


def _bytes(raw: "int | bytes") -> bytes:
    if isinstance(raw, int):
        raise Malformed("a number where bytes are due")
    return raw


def _int(raw: "int | bytes") -> int:
    if isinstance(raw, bytes):
        if raw == b"":
            return 0  # The absent value of a map entry.
        raise Malformed("bytes where a number is due")
    raw &= (1 << 64) - 1
    return raw - (1 << 64) if raw >> 63 else raw


def _double(raw: "int | bytes") -> float:
    data = _bytes(raw)
    return float(struct.unpack("<d", data)[0]) if len(data) == 8 else 0.0


def _time(parts: "dict[int, int | bytes]") -> str | None:
    """None for Go's zero time, which is sent as an empty message."""
    return format_time(_moment(parts)) if parts else None


def _micro_time(parts: "dict[int, int | bytes]") -> str | None:
    return format_micro(_moment(parts)) if parts else None


def _moment(parts: "dict[int, int | bytes]") -> datetime:
    try:
        whole = datetime.fromtimestamp(_int(parts.get(1, 0)), UTC)
    except (ValueError, OSError) as error:
        raise Malformed(f"a time out of range: {error}") from error
    return whole.replace(microsecond=_int(parts.get(2, 0)) // 1000 % 1_000_000)


def _int_or_string(parts: "dict[int, int | bytes]") -> int | str:
    return _bytes(parts.get(3, b"")).decode() if _int(parts.get(1, 0)) == 1 else _int(parts.get(2, 0))


def _raw_json(parts: "dict[int, int | bytes]") -> Any:
    data = _bytes(parts.get(1, b""))
    return orjson.loads(data) if data else None


def _duration(parts: "dict[int, int | bytes]") -> str:
    """Go's form, as in "1h0m0s"; whole seconds are all that API objects hold."""
    minutes, seconds = divmod(_int(parts.get(1, 0)) / 1e9, 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{seconds:g}s"
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}" if minutes else tail


SCALARS: "dict[str, Callable[[int | bytes], Any]]" = {
    "string": lambda raw: _bytes(raw).decode(),
    "bytes": lambda raw: base64.b64encode(_bytes(raw)).decode(),
    "bool": lambda raw: bool(_int(raw)),
    "int32": _int,
    "int64": _int,
    "double": _double,
}
SPECIAL: "dict[str, Callable[[dict[int, int | bytes]], Any]]" = {
    "api.resource.Quantity": lambda parts: _bytes(parts.get(1, b"")).decode() or "0",
    "util.intstr.IntOrString": _int_or_string,
    "apis.meta.v1.Time": _time,
    "apis.meta.v1.MicroTime": _micro_time,
    "apis.meta.v1.Duration": _duration,
    "apis.meta.v1.FieldsV1": _raw_json,
    "runtime.RawExtension": _raw_json,
    "apiextensions.v1.JSON": _raw_json,
}
SCHEMA = "apiextensions.v1.JSONSchemaProps"
# What may stand where a schema may. Source: apiextensions/v1, JSONSchemaPropsOrBool and its like.
SCHEMA_OR = {f"{SCHEMA}OrBool": "bool", f"{SCHEMA}OrArray": SCHEMA, f"{SCHEMA}OrStringArray": "string"}
