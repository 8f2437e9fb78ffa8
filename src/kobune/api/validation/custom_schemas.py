"""The schema in a CustomResourceDefinition: what it may say, and that it is structural.

Source: upstream apiextensions-apiserver, pkg/apis/apiextensions/validation and pkg/apiserver/schema.
"""

import re
from collections.abc import Iterator
from typing import Any

from kobune.api.copying import clone
from kobune.api.errors import FieldError, Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required
from kobune.api.go_regexp import compile_go
from kobune.api.schema import Schema
from kobune.api.structural import prune
from kobune.api.structural_checks import StructuralChecks
from kobune.api.validation.checks import Errors
from kobune.api.validation.structural_rules import check_structural

TYPES = ("array", "boolean", "integer", "number", "object", "string")
UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
META_FIELDS = frozenset({"metadata", "kind", "apiVersion"})
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
# The keywords at the root when the status has an endpoint of its own; upstream shows them by these names.
AT_ROOT = (
    "Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength",
    "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties",
    "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations",
)  # fmt: skip
ROOT_KEYWORDS = frozenset(
    {"x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"}
    | {name[0].lower() + name[1:] for name in AT_ROOT if not name.startswith("X")}
)
LIST_KEYS, LIST_TYPE, MAP_TYPE, RULES = (
    f"x-kubernetes-{name}" for name in ("list-map-keys", "list-type", "map-type", "validations")
)
PRESERVE, EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
SCALAR = "must be a scalar type if parent array's x-kubernetes-list-type is map"
BREAK = re.compile(r"[\n\r]")


def check_schema(schema: Json | None, path: str, errors: Errors, *, has_status: bool) -> None:
    if schema is None:
        return
    start = len(errors)
    if has_status:
        _check_root(schema, path, errors)
    if schema.get("nullable"):
        errors.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    found: Errors = []
    check_structural(schema, path, found)
    if not found:
        for at, node in _nodes(schema, path):
            if "default" in node and not _is_metadata(at, path):
                _check_default(node, f"{at}.default", found)
    errors += found
    _check_node(schema, path, errors, root=True)
    if len(errors) > start:
        return
    for at, node in _nodes(schema, path):
        if node.get("pattern"):
            try:
                compile_go(node["pattern"])
            except ValueError as error:
                detail = f"must be a valid regular expression, but isn't: {error}"
                errors.append(invalid(f"{at}.pattern", node["pattern"], detail))


def field_type(schema: Json, path: str) -> str:
    """The type of the field at a path such as `.spec.color`.

    Raises:
        ValueError: the path leads nowhere.
    """
    if not path.startswith("."):
        raise ValueError(f"expected [ or . but got: {path[:1]}")
    node = schema
    for name in path[1:].split("."):
        child = (node.get("properties") or {}).get(name)
        if child is None:
            extra = node.get("additionalProperties")
            if not isinstance(extra, dict):
                raise ValueError(f"does not refer to a valid field: {name}")
            child = extra
        node = child
    return str(node.get("type") or "")


def _check_root(schema: Json, path: str, errors: Errors) -> None:
    if schema.get("type") != "object":
        detail = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        errors.append(invalid(f"{path}.type", schema.get("type") or "", detail))
    elif not {keyword for keyword, value in schema.items() if value} <= ROOT_KEYWORDS:
        shown = f"[{' '.join(AT_ROOT)}]"
        detail = f"only {shown} fields are allowed at the root of the schema if the status subresource is enabled"
        errors.append(invalid(path, schema, detail))


def _nodes(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    """The schema and those of its fields and items, each with its path."""
    yield path, schema
    if isinstance(schema.get("items"), dict):
        yield from _nodes(schema["items"], f"{path}.items")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _nodes(schema["additionalProperties"], f"{path}.additionalProperties")
    for name, child in (schema.get("properties") or {}).items():
        yield from _nodes(child, f"{path}.properties[{name}]")


def _is_metadata(at: str, root: str) -> bool:
    return any(at.startswith(f"{root}.properties[{name}]") for name in META_FIELDS)


def _check_default(node: Json, path: str, errors: Errors) -> None:
    default, schema = node["default"], Schema(node)
    pruned = clone(default)
    if isinstance(pruned, dict | list) and prune(pruned, schema):  # type: ignore[arg-type]
        errors.append(invalid(path, default, "must not have unknown fields"))
    for error in StructuralChecks(schema).errors(default):
        where = error.field if error.field.startswith("[") or not error.field else f".{error.field}"
        errors.append(FieldError(f"{path}{where}", error.reason, error.message))


def _check_node(
    schema: Any, path: str, errors: Errors, *, root: bool = False, in_meta: bool = False, no_default: str = ""
) -> None:
    """Args: in_meta: the node describes metadata; no_default: why it may have no default."""
    if not isinstance(schema, dict):
        return
    _check_keywords(schema, path, in_meta, no_default, errors)
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(forbidden(f"{path}.uniqueItems", detail))
    extra, properties, items = (schema.get(keyword) for keyword in ("additionalProperties", "properties", "items"))
    if extra is not None:
        if properties and extra is not True:
            detail = "additionalProperties and properties are mutual exclusive"
            errors.append(forbidden(f"{path}.additionalProperties", detail))
        why = "inside additionalProperties applying to object metadata" if in_meta else no_default
        _check_node(extra, f"{path}.additionalProperties", errors, in_meta=in_meta, no_default=why)
    for name, child in (properties or {}).items():
        is_meta = (root or bool(schema.get(EMBEDDED))) and name in META_FIELDS
        why = f"in top-level {name}" if is_meta and root else no_default
        _check_node(child, f"{path}.properties[{name}]", errors, in_meta=in_meta or is_meta, no_default=why)
    _check_node(schema.get("not"), f"{path}.not", errors, in_meta=in_meta, no_default=no_default)
    for keyword in ("allOf", "oneOf", "anyOf"):
        for index, child in enumerate(schema.get(keyword) or ()):
            _check_node(child, f"{path}.{keyword}[{index}]", errors, in_meta=in_meta, no_default=no_default)
    _check_node(items, f"{path}.items", errors, in_meta=in_meta, no_default=no_default)
    if schema.get(PRESERVE) is False:
        errors.append(invalid(f"{path}.{PRESERVE}", False, "must be true or undefined"))
    _check_lists(schema, path, errors)
    for index, rule in enumerate(schema.get(RULES) or ()):
        _check_rule(rule, f"{path}.{RULES}[{index}]", errors)


def _check_keywords(schema: Json, path: str, in_meta: bool, no_default: str, errors: Errors) -> None:
    kind = schema.get("type")
    if kind and kind not in TYPES:
        errors.append(not_supported(f"{path}.type", kind, TYPES))
    if schema.get("default") is not None and no_default:
        errors.append(forbidden(f"{path}.default", f"must not be set {no_default}"))
    for keyword in UNSUPPORTED:
        if schema.get(keyword):
            errors.append(forbidden(f"{path}.{keyword}", f"{keyword} is not supported"))
    if kind == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        errors.append(forbidden(f"{path}.type", detail))
    if isinstance(schema.get("items"), list):
        errors.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if in_meta and schema.get(EMBEDDED):
        errors.append(forbidden(f"{path}.{EMBEDDED}", "must not be used inside of resource meta"))


def _check_lists(schema: Json, path: str, errors: Errors) -> None:
    map_type, list_type, keys = (schema.get(keyword) for keyword in (MAP_TYPE, LIST_TYPE, LIST_KEYS))
    items = schema.get("items")
    for keyword, value, kind in ((MAP_TYPE, map_type, "object"), (LIST_TYPE, list_type, "array")):
        if value is not None and schema.get("type") != kind:
            detail = f"must be {kind} if {keyword} is specified"
            given = schema.get("type")
            errors.append(invalid(f"{path}.type", given, detail) if given else required(f"{path}.type", detail))
    if map_type is not None and map_type not in ("atomic", "granular"):
        errors.append(not_supported(f"{path}.{MAP_TYPE}", map_type, ("atomic", "granular")))
    if list_type is not None and list_type not in ("atomic", "set", "map"):
        errors.append(not_supported(f"{path}.{LIST_TYPE}", list_type, ("atomic", "set", "map")))
    if list_type == "set" and schema.get("type") == "array" and isinstance(items, dict):
        _check_set_items(items, f"{path}.items", errors)
    if keys:
        detail = f"must be map if {LIST_KEYS} is non-empty"
        if list_type is None:
            errors.append(required(f"{path}.{LIST_TYPE}", detail))
        elif list_type != "map":
            errors.append(invalid(f"{path}.{LIST_TYPE}", list_type, detail))
    if list_type == "map":
        _check_map_list(keys or [], items, path, errors)
    if list_type in ("set", "map") and isinstance(items, dict) and items.get("nullable"):
        detail = f"cannot be nullable when {LIST_TYPE} is {list_type}"
        errors.append(forbidden(f"{path}.items.nullable", detail))


def _check_set_items(items: Json, path: str, errors: Errors) -> None:
    detail = f"must be atomic as item of a list with {LIST_TYPE}=set"
    if items.get("type") == "array" and items.get(LIST_TYPE, "atomic") != "atomic":
        errors.append(invalid(f"{path}.{LIST_TYPE}", items[LIST_TYPE], detail))
    elif items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
        errors.append(invalid(f"{path}.{MAP_TYPE}", items.get(LIST_TYPE), detail))


def _check_map_list(keys: list[str], items: Any, path: str, errors: Errors) -> None:
    if not keys:
        errors.append(required(f"{path}.{LIST_KEYS}", f"must not be empty if {LIST_TYPE} is map"))
    if items is None:
        errors.append(required(f"{path}.items", f"must have a schema if {LIST_TYPE} is map"))
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        detail = f"must be object if parent array's {LIST_TYPE} is map"
        errors.append(invalid(f"{path}.items.type", items.get("type") or "", detail))
        return
    properties, needed = items.get("properties") or {}, items.get("required") or ()
    for index, key in enumerate(keys):
        field = properties.get(key)
        if field is None:
            errors.append(invalid(f"{path}.{LIST_KEYS}", keys, "entries must all be names of item properties"))
        elif field.get("type") in ("array", "object"):
            errors.append(invalid(f"{path}.items.properties[{key}].type", items["type"], SCALAR))
        if key in keys[:index]:
            errors.append(invalid(f"{path}.{LIST_KEYS}", keys, "must not contain duplicate entries"))
    for key in keys:
        field = properties.get(key)
        if field is None:
            continue
        at = f"{path}.items.properties[{key}]"
        if key not in needed and field.get("default") is None:
            detail = f"this property is in {LIST_KEYS}, so it must have a default or be a required property"
            errors.append(required(f"{at}.default", detail))
        if field.get("nullable"):
            errors.append(forbidden(f"{at}.nullable", f"this property is in {LIST_KEYS}, so it cannot be nullable"))


def _check_rule(rule: Json, path: str, errors: Errors) -> None:
    text, message, expression, where = (
        rule.get(field) or "" for field in ("rule", "message", "messageExpression", "fieldPath")
    )
    if not text.strip():
        errors.append(required(f"{path}.rule", "rule is not specified"))
    elif message and not message.strip():
        errors.append(invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif BREAK.search(message.strip()):
        errors.append(invalid(f"{path}.message", message, "must not contain line breaks"))
    elif BREAK.search(text.strip()) and not message.strip():
        detail = "message must be specified if rule contains line breaks"
        errors.append(required(f"{path}.message", detail))
    if expression and not expression.strip():
        errors.append(required(f"{path}.messageExpression", "messageExpression must be non-empty if specified"))
    if rule.get("reason") is not None and rule["reason"] not in REASONS:
        errors.append(not_supported(f"{path}.reason", rule["reason"], REASONS))
    if where and not where.strip():
        errors.append(invalid(f"{path}.fieldPath", where, "must be non-empty if specified"))
    if BREAK.search(where):
        errors.append(invalid(f"{path}.fieldPath", where, "must not contain line breaks"))
