"""Structural schemas: every field has a type, and what is in allOf, anyOf, oneOf and not only narrows it further.

Source: upstream apiextensions-apiserver, pkg/apiserver/schema/validation.go and complete.go.
"""

from collections.abc import Iterator
from typing import Any

from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, required
from kobune.api.validation.checks import Errors

INT_OR_STRING, PRESERVE, EMBEDDED = (
    f"x-kubernetes-{name}" for name in ("int-or-string", "preserve-unknown-fields", "embedded-resource")
)
EITHER = [{"type": "integer"}, {"type": "string"}]
# What each level of the schema is called where its type is missing.
MISSING_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
NAMED = frozenset({"name", "generateName"})
# What may not stand inside allOf and its like, and what upstream says then.
FORBIDDEN = {
    "type": "empty", "additionalProperties": "undefined", "default": "undefined", "title": "empty", "description": "empty",
    "nullable": "false", PRESERVE: "false", EMBEDDED: "false", INT_OR_STRING: "false", "x-kubernetes-list-map-keys": "empty",
    "x-kubernetes-list-type": "undefined", "x-kubernetes-map-type": "undefined", "x-kubernetes-validations": "empty",
}  # fmt: skip
METADATA = "must not specify anything other than name and generateName, but metadata is implicitly specified"


def check_structural(schema: Json, path: str, errors: Errors) -> None:
    """The faults, in the order of their texts."""
    found: Errors = []
    _check(schema, "root", path, found)
    _check_complete(schema, schema, path, path, found)
    errors.extend(sorted(found, key=lambda error: (error.field, error.message)))


def _check(schema: Json, level: str, path: str, errors: Errors) -> None:
    kind, items, extra = (schema.get(keyword) for keyword in ("type", "items", "additionalProperties"))
    properties = schema.get("properties") or {}
    if kind == "array" and items is None:
        errors.append(required(f"{path}.items", "must be specified"))
    if isinstance(items, dict):
        _check(items, "item", f"{path}.items", errors)
    for name, child in properties.items():
        _check(child, "field", f"{path}.properties[{name}]", errors)
    if extra is not None:
        if level == "root":
            errors.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(extra, dict):
            _check(extra, "field", f"{path}.additionalProperties", errors)
    if schema.get(INT_OR_STRING):
        for keyword in (PRESERVE, EMBEDDED):
            if schema.get(keyword):
                errors.append(invalid(f"{path}.{keyword}", True, f"must be false if {INT_OR_STRING} is true"))
    _check_narrowing(schema, path, errors, is_top=True)
    _check_type(schema, level, path, errors)
    _check_metadata(properties, level, bool(schema.get(EMBEDDED)), path, errors)
    if schema.get(EMBEDDED) and not schema.get(PRESERVE) and not properties:
        detail = f"must not be empty if {EMBEDDED} is true without {PRESERVE}"
        errors.append(required(f"{path}.properties", detail))


def _check_type(schema: Json, level: str, path: str, errors: Errors) -> None:
    kind = schema.get("type") or ""
    if schema.get(EMBEDDED) and kind != "object":
        detail = f"must be object if {EMBEDDED} is true"
        errors.append(invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        errors.append(required(f"{path}.type", MISSING_TYPE[level]))
    if schema.get(EMBEDDED) and schema.get("additionalProperties") is not None:
        errors.append(forbidden(f"{path}.additionalProperties", f"must not be used if {EMBEDDED} is set"))
    if level == "root" and kind and kind != "object":
        errors.append(invalid(f"{path}.type", kind, "must be object at the root"))


def _check_metadata(properties: Json, level: str, embedded: bool, path: str, errors: Errors) -> None:
    if level != "root" and not embedded:
        return
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type") != "string":
            at = f"{path}.properties[{name}].type"
            errors.append(invalid(at, properties[name].get("type") or "", "must be string"))
    metadata = properties.get("metadata")
    if metadata is None:
        return
    at = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        errors.append(invalid(f"{at}.type", metadata.get("type") or "", "must be object"))
    if level == "root":
        rest = {keyword for keyword, value in metadata.items() if value and keyword not in ("type", "default")}
        if metadata.get("properties") and metadata["properties"].keys() <= NAMED:
            rest.discard("properties")
        if rest:
            errors.append(forbidden(at, METADATA))


def _check_narrowing(schema: Json, path: str, errors: Errors, *, is_top: bool, skip_any: bool = False) -> None:
    """What allOf, anyOf, oneOf and not say; the two ways of writing "an integer or a string" are let through."""
    is_either = is_top and schema.get("anyOf") == EITHER
    if not skip_any and not is_either:
        for index, nested in enumerate(schema.get("anyOf") or ()):
            _check_nested(nested, f"{path}.anyOf[{index}]", errors)
    for index, nested in enumerate(schema.get("allOf") or ()):
        skip = is_top and index == 0 and nested.get("anyOf") == EITHER
        _check_nested(nested, f"{path}.allOf[{index}]", errors, skip_any=skip)
    for index, nested in enumerate(schema.get("oneOf") or ()):
        _check_nested(nested, f"{path}.oneOf[{index}]", errors)
    _check_nested(schema.get("not"), f"{path}.not", errors)


def _check_nested(nested: Any, path: str, errors: Errors, *, skip_any: bool = False) -> None:
    if not isinstance(nested, dict):
        return
    _check_narrowing(nested, path, errors, is_top=False, skip_any=skip_any)
    _check_nested(nested.get("items"), f"{path}.items", errors)
    for name, child in (nested.get("properties") or {}).items():
        _check_nested(child, f"{path}.properties[{name}]", errors)
    for keyword, expected in FORBIDDEN.items():
        value = nested.get(keyword)
        if value or (expected == "undefined" and value is not None):
            errors.append(forbidden(f"{path}.{keyword}", f"must be {expected} to be structural"))
    if "metadata" in (nested.get("properties") or {}):
        errors.append(forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context"))


def _check_complete(narrowing: Json, schema: Any, at: str, path: str, errors: Errors) -> None:
    """Every field that is narrowed is there. Args: at: the path of `schema`; path: that of `narrowing`."""
    for where, nested in _alternatives(narrowing, path):
        _check_nested_complete(nested, schema, at, where, errors)


def _check_nested_complete(nested: Json, schema: Any, at: str, path: str, errors: Errors) -> None:
    if not isinstance(schema, dict):
        errors.append(required(at, f"because it is defined in {path}"))
        return
    _check_complete(nested, schema, at, path, errors)
    if isinstance(nested.get("items"), dict):
        _check_nested_complete(nested["items"], schema.get("items"), f"{at}.items", f"{path}.items", errors)
    for name, child in (nested.get("properties") or {}).items():
        field = (schema.get("properties") or {}).get(name)
        _check_nested_complete(child, field, f"{at}.properties[{name}]", f"{path}.properties[{name}]", errors)


def _alternatives(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    if isinstance(schema.get("not"), dict):
        yield f"{path}.not", schema["not"]
    for keyword in ("allOf", "anyOf", "oneOf"):
        for index, nested in enumerate(schema.get(keyword) or ()):
            yield f"{path}.{keyword}[{index}]", nested
