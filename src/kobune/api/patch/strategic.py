"""Strategic merge patch: a merge patch that knows which lists are keyed, and takes orders (`$patch` and its kin).

Source: Kubernetes documentation, "Update API Objects in Place Using kubectl patch"; upstream util/strategicpatch.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from kobune.api.copying import clone
from kobune.api.errors import BadRequest, Invalid, Json
from kobune.api.patch.jsonpatch import REFUSED

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_FROM_LIST = "$deleteFromPrimitiveList"
SET_ORDER = "$setElementOrder"

BAD_PRIMITIVE_LIST = "invalid patch format of primitive list"
BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
BAD_ORDER = "invalid patch format of setElementOrder list"


class Shape(Protocol):
    """What merging must know of a value's schema."""

    @property
    def properties(self) -> Mapping[str, "Shape"]: ...
    @property
    def items(self) -> "Shape | None": ...
    @property
    def additional(self) -> "Shape | None": ...
    @property
    def patch_strategy(self) -> tuple[str, ...]: ...
    @property
    def merge_key(self) -> str: ...


def apply(document: Json, patch: Any, schema: Shape) -> Json:
    """The merged document; no argument changes. A null removes; nulls in what is new are dropped.

    Raises:
        BadRequest: a directive that cannot be, or elements without their merge key.
        Invalid: a list of lists, which cannot be merged.
    """
    if not isinstance(patch, dict):
        name = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(patch), "null")
        raise BadRequest(f"json: cannot unmarshal {name} into Go value of type map[string]interface {{}}")
    return _merge_maps(document, patch, schema)


def _merge_maps(original: Json, patch: Json, schema: Shape | None) -> Json:
    if DIRECTIVE in patch:
        return _directed(patch)
    kept = _retained(original, patch)
    result = {key: clone(value) for key, value in kept.items()}
    ordered = set()
    for directive, order in patch.items():
        if directive.startswith(SET_ORDER):
            key = _directed_key(directive, SET_ORDER, BAD_ORDER)
            ordered.add(key)
            merged = _merge_in_order(kept.get(key), patch.get(key), order, _field(schema, key))
            if merged is not None:
                result[key] = merged
    for key, value in patch.items():
        if key == RETAIN_KEYS or key in ordered or key.startswith(SET_ORDER):
            continue
        if key.startswith(DELETE_FROM_LIST):
            # After the loop: an element that is both added and removed is gone.
            continue
        if value is None:
            result.pop(key, None)
        elif key in kept and isinstance(value, dict) and isinstance(kept[key], dict):
            field = _field(schema, key)
            replaces = field is not None and "replace" in field.patch_strategy
            result[key] = _new_value(value) if replaces else _merge_maps(kept[key], value, field)
        elif key in kept and isinstance(value, list) and isinstance(kept[key], list):
            result[key] = _merge_lists(kept[key], value, _field(schema, key))
        elif isinstance(value, dict) and DIRECTIVE in value:
            result.pop(key, None)
        else:
            result[key] = _new_value(value)
    for directive, unwanted in patch.items():
        if directive.startswith(DELETE_FROM_LIST):
            key = _directed_key(directive, DELETE_FROM_LIST, BAD_PRIMITIVE_LIST)
            if isinstance(result.get(key), list) and isinstance(unwanted, list):
                result[key] = [each for each in result[key] if not _contains(unwanted, each)]
    return result


def _directed(patch: Json) -> Json:
    match patch[DIRECTIVE]:
        case "replace":
            return {key: clone(value) for key, value in patch.items() if key != DIRECTIVE}
        case "delete":
            return {}
    raise BadRequest(f"unknown patch type: {patch[DIRECTIVE]} in map: {_as_go(patch)}")


def _retained(original: Json, patch: Json) -> Json:
    """The original's fields that `$retainKeys` names; all without it."""
    if RETAIN_KEYS not in patch:
        return original
    keys = patch[RETAIN_KEYS]
    if not isinstance(keys, list):
        raise BadRequest(BAD_RETAIN_KEYS)
    for key, value in patch.items():
        directive = key == RETAIN_KEYS or key.startswith((DELETE_FROM_LIST, SET_ORDER))
        if value is not None and not directive and key not in keys:
            raise BadRequest(BAD_RETAIN_KEYS)
    return {key: value for key, value in original.items() if key in keys}


def _merge_in_order(original: Any, patch: Any, order: Any, field: Shape | None) -> list[Any] | None:
    """The merged list in the order that `$setElementOrder` gives; None when there is no list at all."""
    for value in (order, original, patch):
        if value is not None and not isinstance(value, list):
            raise BadRequest(f"expected a []interface {{}}, but received a {_go_type(value)}")
    if not isinstance(order, list):
        raise BadRequest(BAD_ORDER)
    key = field.merge_key if field is not None else ""
    _check_order(patch or [], order, key)
    if original is None and patch is None:
        return None
    if patch is None:
        merged = clone(original)
    elif original is None:
        merged = _new_value(patch)
    else:
        merged = _merge_lists(original, patch, field)
    return _in_order(merged, order, original or [], key)


def _check_order(patch: list[Any], order: list[Any], key: str) -> None:
    """The patch's elements must stand in `order` in the same sequence; deletions do not count."""
    if not order:
        return
    wanted = [each for each in patch if not (isinstance(each, dict) and DIRECTIVE in each)]
    positions = iter(order)
    for each in wanted:
        if not any(_identity(each, key) == _identity(other, key) for other in positions):
            raise BadRequest(
                f"The order in patch list:\n{_as_go(patch)}\n doesn't match {SET_ORDER} list:\n{_as_go(order)}\n"
            )


def _merge_lists(original: list[Any], patch: list[Any], field: Shape | None) -> list[Any]:
    if field is None or "merge" not in field.patch_strategy:
        return _new_value(patch)  # type: ignore[no-any-return]
    if not original and not patch:
        return []
    _check_elements([*original, *patch])
    if not isinstance((original or patch)[0], dict):
        merged = list(original)
        merged.extend(each for each in patch if not _contains(merged, each))
        return _in_order(_unique(merged), patch, original, "")
    return _merge_keyed(original, patch, field)


def _merge_keyed(original: list[Any], patch: list[Any], field: Shape) -> list[Any]:
    key = field.merge_key
    if not key:
        raise BadRequest("cannot merge lists without merge key")
    additions, replaces = [], False
    for each in patch:
        match each.get(DIRECTIVE):
            case None:
                additions.append(each)
            case "delete":
                unwanted = _identity(each, key)
                original = [other for other in original if other.get(key) != unwanted]
            case "replace":
                replaces = True
            case "merge":
                raise BadRequest("merging lists cannot yet be specified in the patch")
            case other:
                raise BadRequest(f"unknown patch type: {other} in map: {_as_go(each)}")
    if replaces:
        return _new_value(additions)  # type: ignore[no-any-return]
    merged = list(original)
    for each in additions:
        identity = _identity(each, key)
        at = next((index for index, other in enumerate(merged) if other.get(key, _NOTHING) == identity), None)
        if at is None:
            merged.append(_new_value(each))
        else:
            merged[at] = _merge_maps(merged[at], each, field.items)
    return _in_order(clone(merged), additions, original, key)


def _in_order(merged: list[Any], order: list[Any], original: list[Any], key: str) -> list[Any]:
    """Elements named by `order` in its order, the others between them where they stood in `original`."""
    wanted = [_identity(each, key) for each in order]
    present = [_identity(each, key) for each in original]
    named = [each for each in merged if _identity(each, key) in wanted]
    others = [each for each in merged if _identity(each, key) not in wanted]
    named.sort(key=lambda each: wanted.index(_identity(each, key)))
    others.sort(key=lambda each: _position(present, _identity(each, key)))
    result: list[Any] = []
    while named and others:
        here, there = _identity(others[0], key), _identity(named[0], key)
        first = here in present and there in present and present.index(here) < present.index(there)
        result.append((others if first else named).pop(0))
    return result + named + others


def _new_value(value: Any) -> Any:
    """A copy of what the patch brings, without nulls and without elements and fields that are only directives."""
    if isinstance(value, dict):
        return {
            name: _new_value(each)
            for name, each in value.items()
            if each is not None and not (isinstance(each, dict) and DIRECTIVE in each) and name != DIRECTIVE
        }
    if isinstance(value, list):
        return [_new_value(each) for each in value if not (isinstance(each, dict) and DIRECTIVE in each)]
    return value


def _field(schema: Shape | None, key: str) -> Shape | None:
    if schema is None:
        return None
    return schema.properties.get(key) or schema.additional


def _check_elements(elements: list[Any]) -> None:
    if isinstance(elements[0], list):
        raise Invalid(REFUSED)
    if len({_go_type(each) for each in elements}) > 1:
        raise BadRequest(f"list element types are not identical: {_as_go(elements)}")


def _identity(element: Any, key: str) -> Any:
    """What tells the element apart: the value of its merge key, or the element itself."""
    if not key:
        return element
    if not isinstance(element, dict):
        raise BadRequest(f"expected a map[string]interface {{}}, but received a {_go_type(element)}")
    if key not in element:
        raise BadRequest(f"map: {_as_go(element)} does not contain declared merge key: {key}")
    return element[key]


def _directed_key(directive: str, prefix: str, complaint: str) -> str:
    before, slash, key = directive.partition("/")
    if before != prefix or not slash:
        raise BadRequest(complaint)
    return key


def _position(order: list[Any], identity: Any) -> int:
    return order.index(identity) if identity in order else len(order)


def _contains(values: list[Any], value: Any) -> bool:
    return any(each == value and isinstance(each, bool) == isinstance(value, bool) for each in values)


def _unique(values: list[Any]) -> list[Any]:
    result: list[Any] = []
    for value in values:
        if not _contains(result, value):
            result.append(value)
    return result


_NOTHING: Any = object()


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = {dict: "map[string]interface {}", list: "[]interface {}", str: "string", int: "int64", float: "float64"}
    return names.get(type(value), "nil")


def _as_go(value: Any) -> str:
    """As Go prints it with %v."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_as_go(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_as_go, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
