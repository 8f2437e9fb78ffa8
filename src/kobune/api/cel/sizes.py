"""How large the values of a custom kind's schema can get, for the costs of its rules.

Source: upstream apiserver/pkg/cel/common/schemas.go and apiextensions' sizeEstimator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kobune.api.cel.names import escaped

LARGEST_REQUEST = 3 * 1024 * 1024  # Bytes. Source: upstream DefaultMaxRequestSizeBytes.
# The longest text of each format, and its shortest, quoted.
_LONGEST = {"duration": 32, "date": 12, "date-time": 32}
_SHORTEST = {"duration": 3, "date": 12, "date-time": 21}
_SHORTEST_TEXT, _SHORTEST_BOOL, _SHORTEST_NUMBER, _SHORTEST_STRUCT = 2, 4, 1, 2


@dataclass(slots=True)
class Size:
    """`most` and `fewest`: elements, entries or characters; `least`: bytes as JSON."""

    most: int = 0
    fewest: int = 0
    least: int = _SHORTEST_STRUCT
    fields: dict[str, "Size"] = field(default_factory=dict)
    below: "Size | None" = None
    is_map: bool = False

    def at(self, path: Sequence[str]) -> "Size | None":
        """The size of what a path leads to; None where nothing is known."""
        size: Size | None = self
        for name in path:
            if size is None:
                return None
            if name in ("@items", "@values"):
                size = size.below
            elif name == "@keys":
                size = Size() if size.is_map else None
            else:
                size = size.fields.get(name)
        return size


def size_of(raw: Mapping[str, Any], *, is_object: bool = False) -> Size | None:
    """The size of a schema's values; None for what expressions cannot see."""
    longest = raw.get("maxLength")
    if raw.get("x-kubernetes-int-or-string"):
        return Size(LARGEST_REQUEST - 2 if longest is None else 4 * max(longest, 0), least=1)
    match raw.get("type"):
        case "array":
            items = _inner(raw.get("items"))
            if items is None:
                return None
            most = raw.get("maxItems")
            return Size(max(most, 0) if most is not None else (LARGEST_REQUEST - 2) // (items.least + 1), below=items)
        case "object" if isinstance(raw.get("additionalProperties"), Mapping) and not is_object:
            values = _inner(raw["additionalProperties"])
            if values is None:
                return None
            most = raw.get("maxProperties")
            most = max(most, 0) if most is not None else (LARGEST_REQUEST - 2) // (values.least + 6)
            return Size(most, below=values, is_map=True)
        case "object":
            return _struct(raw, is_object=is_object)
        case "string":
            return _text(raw)
        case "boolean":
            return Size(least=_SHORTEST_BOOL)
        case "number" | "integer":
            return Size(least=_SHORTEST_NUMBER)
    return None


def measured(value: Any) -> Size:
    """The size of a value, and of what is in it; of the elements of a list together."""
    if isinstance(value, str | bytes):
        return Size(len(value), len(value))
    if isinstance(value, list):
        return Size(len(value), len(value), below=_together([measured(one) for one in value]))
    if isinstance(value, dict):
        inside = {name: measured(one) for name, one in value.items()}
        below = _together(list(inside.values()))
        fields = {str(name): size for name, size in inside.items()}
        return Size(len(value), len(value), fields=fields, below=below, is_map=True)
    return Size(1, 1)


def _together(sizes: list[Size]) -> Size | None:
    if not sizes:
        return None
    fields: dict[str, list[Size]] = {}
    for size in sizes:
        for name, one in size.fields.items():
            fields.setdefault(name, []).append(one)
    return Size(
        max(size.most for size in sizes), min(size.fewest for size in sizes),
        fields={name: both for name, several in fields.items() if (both := _together(several)) is not None},
        below=_together([size.below for size in sizes if size.below is not None]),
        is_map=all(size.is_map for size in sizes),
    )  # fmt: skip


def repetitions(size: Size) -> int:
    """How often values of this size fit into one request."""
    return LARGEST_REQUEST // (size.least + 1)


def _inner(raw: Any) -> Size | None:
    if not isinstance(raw, Mapping):
        return None
    return size_of(raw, is_object=bool(raw.get("x-kubernetes-embedded-resource")))


def _struct(raw: Mapping[str, Any], *, is_object: bool) -> Size:
    result = Size()
    properties: dict[str, Any] = dict(raw.get("properties") or {})
    if is_object:
        text = {"type": "string"}
        meta = {"type": "object", "properties": {"name": text, "generateName": text}}
        properties |= {"kind": text, "apiVersion": text, "metadata": meta}
    required = set(raw.get("required") or ())
    for name, field_raw in properties.items():
        size = _inner(field_raw)
        if size is None:
            continue
        if written := escaped(name):
            result.fields[written] = size
        if name in required and field_raw.get("default") is None:
            result.least += len(name) + size.least + 4
    return result


def _text(raw: Mapping[str, Any]) -> Size:
    form, longest = raw.get("format", ""), raw.get("maxLength")
    if form in _LONGEST:
        return Size(_LONGEST[form], least=_SHORTEST[form])
    if longest is not None:
        return Size(max(longest, 0) * (1 if form == "byte" else 4), least=_SHORTEST_TEXT)
    if raw.get("enum") and form != "byte":
        return Size(
            max((len(one.encode()) for one in raw["enum"] if isinstance(one, str)), default=0), least=_SHORTEST_TEXT
        )
    return Size(LARGEST_REQUEST - 2, least=_SHORTEST_TEXT)
