"""JSON values as CEL's: only what is of another type there is converted (times, bytes, numbers, names of fields)."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from kobune.api.cel.names import escaped
from kobune.api.timestamps import parse_time

Convert = Callable[[Any], Any]
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_NANOS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def converter(raw: Mapping[str, Any]) -> Convert | None:
    """What makes CEL values of values of this schema; None: they are as they should be."""
    if raw.get("x-kubernetes-int-or-string"):
        return None
    match raw.get("type"):
        case "number":
            return lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        case "string":
            return _FORMATS.get(raw.get("format", ""))
        case "array":
            inner = converter(raw["items"]) if isinstance(raw.get("items"), Mapping) else None
            return _each(inner) if inner else None
        case "object":
            return _object(raw)
    return None


def _object(raw: Mapping[str, Any]) -> Convert | None:
    fields = {name: (escaped(name) or name, converter(field)) for name, field in (raw.get("properties") or {}).items()}
    changed = {name: rule for name, rule in fields.items() if rule[0] != name or rule[1] is not None}
    extra = raw.get("additionalProperties")
    others = converter(extra) if isinstance(extra, Mapping) else None
    if not changed and others is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        result: dict[str, Any] = {}
        for name, item in value.items():
            written, inner = changed.get(name, (name, None if name in fields else others))
            result[written] = inner(item) if inner is not None else item
        return result

    return convert


def _each(inner: Convert) -> Convert:
    return lambda value: [inner(item) for item in value] if isinstance(value, list) else value


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    stamp = timestamp_pb2.Timestamp()
    try:
        stamp.FromDatetime(parse_time(value if "T" in value else f"{value}T00:00:00Z"))
    except ValueError:
        return value
    return stamp


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        return value
    sign, text = (-1, value[1:]) if value[0] == "-" else (1, value.removeprefix("+"))
    parts = _DURATION.findall(text)
    if text != "0" and "".join(map("".join, parts)) != text:
        return value
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(sign * sum(int(float(number) * _NANOS[unit]) for number, unit in parts))
    return duration


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value
    except binascii.Error:
        return value


_FORMATS: Mapping[str, Convert] = {"date": _time, "date-time": _time, "duration": _duration, "byte": _bytes}
