"""The columns that a CustomResourceDefinition gives its kind: additionalPrinterColumns."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from kobune.api.errors import Json
from kobune.api.jsonpath import JsonPath, parse_path
from kobune.controlplane.apiserver.tables.columns import NAME, Column, Printer, name_of
from kobune.controlplane.apiserver.tables.durations import since

_DEFAULT: Sequence[Json] = ({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},)


def custom_printer(columns: Sequence[Json] | None) -> Printer:
    """The printer for a version's additionalPrinterColumns; without any there are Name and Age.

    Raises:
        ValueError: a jsonPath cannot be read.
    """
    definitions = columns or _DEFAULT
    shown = [
        Column(
            one["name"],
            one.get("description") or f"Custom resource definition column (in JSONPath format): {one['jsonPath']}",
            type=one["type"],
            format=one.get("format", ""),
            priority=one.get("priority", 0),
        )
        for one in definitions
    ]
    paths: list[tuple[JsonPath, str]] = [(parse_path(one["jsonPath"]), one["type"]) for one in definitions]

    def cells(obj: Json, now: datetime) -> list[Any]:
        return [name_of(obj), *(_cell(path.find(obj), kind, now) for path, kind in paths)]

    return Printer((NAME, *shown), cells)


def _cell(found: list[Any], kind: str, now: datetime) -> Any:
    """The first value in the column's type; None when there is none of that type. Source: upstream tableconvertor."""
    value = found[0] if found else None
    if value is None:
        return None
    match kind:
        case "string":
            return value if isinstance(value, str) else orjson.dumps(value).decode()
        case "integer" if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            try:
                return since(value, now)
            except ValueError:
                return "<invalid>"
    return None
