"""Custom objects against their definition's schema: pruning and defaulting. What is invalid, `structural_checks` tells.

Source: upstream apiextensions-apiserver, pkg/apiserver/schema (pruning, defaulting, objectmeta).
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kobune.api.schema import Json, Schema

# Of every object, and of every object embedded in another: kept whatever the schema says.
_OBJECT_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
_KEEP_COUNT = 100


def prune(obj: Json, schema: Schema | None) -> list[str]:
    """Drop in place the fields that the schema does not name, and return their paths, sorted.

    Args:
        obj: a whole object; its apiVersion, kind and metadata are left alone.
        schema: of the whole object; None names nothing.
    """
    unknown: list[str] = []
    _prune(obj, schema, "", unknown, is_object=True)
    return sorted(unknown)[:_KEEP_COUNT]


def _prune(value: Any, schema: Schema | None, path: str, unknown: list[str], *, is_object: bool = False) -> None:
    if schema is not None and schema.preserve_unknown and "x-kubernetes-preserve-unknown-fields" in schema.raw:
        _keep(value, schema, path, unknown, is_object=is_object)
        return
    if isinstance(value, list):
        items = schema.items if schema is not None else None
        for position, item in enumerate(value):
            _prune(item, items, f"{path}[{position}]", unknown)
    elif isinstance(value, dict):
        is_object = is_object or (schema is not None and schema.embedded_resource)
        for name in list(value):
            if is_object and name in _OBJECT_FIELDS:
                continue
            inner = f"{path}.{name}" if path else name
            known, shape = _field(schema, name)
            if known:
                _prune(value[name], shape, inner, unknown)
            else:
                unknown.append(inner)
                del value[name]


def _keep(value: Any, schema: Schema, path: str, unknown: list[str], *, is_object: bool = False) -> None:
    """Where unknown fields are kept, known ones are still pruned inside."""
    if isinstance(value, list) and schema.items is not None:
        for position, item in enumerate(value):
            _keep(item, schema.items, f"{path}[{position}]", unknown)
    elif isinstance(value, dict):
        is_object = is_object or schema.embedded_resource
        for name, item in value.items():
            known, shape = _field(schema, name)
            if known and not (is_object and name in _OBJECT_FIELDS):
                _prune(item, shape, f"{path}.{name}" if path else name, unknown)


def _field(schema: Schema | None, name: str) -> tuple[bool, Schema | None]:
    """Whether the schema names a field, and the field's shape; `additionalProperties: true` gives it none."""
    if schema is None:
        return False, None
    if (shape := schema.properties.get(name)) is not None:
        return True, shape
    return bool(schema.raw.get("additionalProperties")) or schema.raw.get(
        "additionalProperties"
    ) == {}, schema.additional


def apply_defaults(value: Any, schema: Schema | None) -> None:
    """Fill in place what is missing and has a default; nulls that may not be go, or give way to the default."""
    _drop_nulls(value, schema)
    _fill(value, schema)


def _drop_nulls(value: Any, schema: Schema | None) -> None:
    if isinstance(value, dict):
        for name in list(value):
            shape = _field(schema, name)[1]
            if value[name] is None and shape is not None and not shape.nullable and shape.default is None:
                del value[name]
            else:
                _drop_nulls(value[name], shape)
    elif isinstance(value, list):
        items = schema.items if schema is not None else None
        for item in value:
            _drop_nulls(item, items)


def _fill(value: Any, schema: Schema | None) -> None:
    if schema is None:
        return
    if isinstance(value, dict):
        for name, shape in schema.properties.items():
            if shape.default is not None and (name not in value or (value[name] is None and not shape.nullable)):
                value[name] = deepcopy(shape.default)
        for name, item in value.items():
            field = schema.properties.get(name)
            if field is None and item is None and (rest := schema.additional) is not None and not rest.nullable:
                value[name] = item = deepcopy(rest.default)
            _fill(item, field or schema.additional)
    elif isinstance(value, list) and schema.items is not None:
        for position, item in enumerate(value):
            if item is None and not schema.items.nullable:
                value[position] = item = deepcopy(schema.items.default)
            _fill(item, schema.items)


def custom_schema(definition_version: Mapping[str, Any]) -> Schema:
    """The schema of one of a CustomResourceDefinition's versions, given as in its spec; without one, an open object."""
    raw = (definition_version.get("schema") or {}).get("openAPIV3Schema")
    return Schema(raw or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
