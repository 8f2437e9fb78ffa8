"""What is wrong with a custom object by its definition's schema, in upstream's words; CEL rules aside.

Each node's checks are made once. Source: kube-openapi's validation and its errors as upstream's apiextensions-apiserver
turns them into field errors.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import orjson

from kobune.api import field_errors
from kobune.api.errors import FieldError
from kobune.api.formats import is_of_format
from kobune.api.go_regexp import compile_go
from kobune.api.schema import Json, Schema

Errors = list[FieldError]
Check = Callable[[Any, str, Errors], None]

_SHOWN = {"object": dict, "array": list, "string": str, "boolean": bool}
# Where a composition fails, upstream has no field to name.
_NOWHERE = "<nil>"
_OBJECT_FIELDS = ("apiVersion", "kind")


class StructuralChecks:
    """The checks of one version of a custom kind."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    @cached_property
    def _check(self) -> Check:
        return _compiled(self._schema.raw)

    def errors(self, obj: Json) -> Errors:
        """Every fault of a whole object, as it stands after pruning and defaulting."""
        found: Errors = []
        self._check(obj, "", found)
        if self._has_keyed_lists:
            _check_uniqueness(obj, self._schema, "", found)
        if self._has_embedded:
            _check_embedded(obj, self._schema, "", found)
        return found

    # Most schemas have neither, and every write passes here.

    @cached_property
    def _has_keyed_lists(self) -> bool:
        return _mentions(self._schema.raw, "x-kubernetes-list-type")

    @cached_property
    def _has_embedded(self) -> bool:
        return _mentions(self._schema.raw, "x-kubernetes-embedded-resource")


def _mentions(raw: Mapping[str, Any], word: str) -> bool:
    """Whether a keyword stands anywhere in a schema."""
    inner = [*(raw.get("properties") or {}).values(), raw.get("items"), raw.get("additionalProperties")]
    return word in raw or any(_mentions(one, word) for one in inner if isinstance(one, Mapping))


def _compiled(raw: Mapping[str, Any]) -> Check:
    checks = [*_compositions(raw), *_limits(raw)]
    kinds = _types(raw)
    nullable = bool(raw.get("nullable"))
    fields = {name: _compiled(field) for name, field in (raw.get("properties") or {}).items()}
    extra = raw.get("additionalProperties")
    others = _compiled(extra) if isinstance(extra, Mapping) else None
    items = _compiled(raw["items"]) if isinstance(raw.get("items"), Mapping) else None
    required = tuple(raw.get("required") or ())
    enum = raw.get("enum")
    shape = raw.get("format", "")

    def check(value: Any, path: str, errors: Errors) -> None:
        if value is None and nullable:
            return
        if kinds and not any(_is_of(kind, value) for kind in kinds):
            given = _type_name(value)
            errors.append(
                field_errors.type_invalid(path, given, f'{_body(path)} must be of type {",".join(kinds)}: "{given}"')
            )
            return
        if enum is not None and not any(_same(value, allowed) for allowed in enum):
            texts = [one if isinstance(one, str) else orjson.dumps(one).decode() for one in enum]
            errors.append(field_errors.not_supported(path, value, texts))
        if shape and isinstance(value, str) and not is_of_format(shape, value):
            detail = f"{_body(path)} must be of type {shape}: {json.dumps(value)}"
            errors.append(field_errors.type_invalid(path, value, detail))
        for one in checks:
            one(value, path, errors)
        if isinstance(value, dict):
            for name in required:
                if name not in value:
                    errors.append(field_errors.required(_join(path, name)))
            for name, item in value.items():
                inner = fields.get(name, others)
                if inner is not None:
                    inner(item, _join(path, name), errors)
        elif isinstance(value, list) and items is not None:
            for position, item in enumerate(value):
                items(item, f"{path}[{position}]", errors)

    return check


def _types(raw: Mapping[str, Any]) -> tuple[str, ...]:
    if raw.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    return (raw["type"],) if raw.get("type") else ()


def _limits(raw: Mapping[str, Any]) -> list[Check]:
    """The checks of numbers, strings, arrays and objects by size and form."""
    checks: list[Check] = []

    def add(
        kind: type | tuple[type, ...], holds: Callable[[Any], bool], fault: Callable[[Any, str], FieldError]
    ) -> None:
        def check(value: Any, path: str, errors: Errors) -> None:
            if isinstance(value, kind) and not isinstance(value, bool) and not holds(value):
                errors.append(fault(value, path))

        checks.append(check)

    def said(detail: str, shown: Callable[[Any], Any] = lambda value: value) -> Callable[[Any, str], FieldError]:
        return lambda value, path: field_errors.invalid(path, shown(value), f"{_body(path)} {detail}")

    number = (int, float)
    if (most := raw.get("maximum")) is not None:
        if raw.get("exclusiveMaximum"):
            add(number, lambda value: value < most, said(f"should be less than {_go_number(most)}"))
        else:
            add(number, lambda value: value <= most, said(f"should be less than or equal to {_go_number(most)}"))
    if (least := raw.get("minimum")) is not None:
        if raw.get("exclusiveMinimum"):
            add(number, lambda value: value > least, said(f"should be greater than {_go_number(least)}"))
        else:
            add(number, lambda value: value >= least, said(f"should be greater than or equal to {_go_number(least)}"))
    if (factor := raw.get("multipleOf")) is not None:
        detail = f"should be a multiple of {_go_number(factor)}"
        add(number, lambda value: math.isclose(value / factor, round(value / factor), abs_tol=1e-12), said(detail))
    if (longest := raw.get("maxLength")) is not None:
        add(str, lambda value: len(value) <= longest, lambda value, path: field_errors.too_long(path, longest))
    if (shortest := raw.get("minLength")) is not None:
        add(str, lambda value: len(value) >= shortest, said(f"should be at least {shortest} chars long"))
    if pattern := raw.get("pattern"):
        matches = compile_go(pattern).search
        add(str, lambda value: matches(value) is not None, said(f"should match '{pattern}'"))
    if (limit := raw.get("maxItems")) is not None:
        add(list, lambda value: len(value) <= limit, lambda value, path: field_errors.too_many(path, len(value), limit))
    if (few := raw.get("minItems")) is not None:
        add(list, lambda value: len(value) >= few, said(f"should have at least {few} items", len))
    if raw.get("uniqueItems"):
        add(
            list,
            lambda value: len(set(map(_key, value))) == len(value),
            said("shouldn't contain duplicates", lambda _: ""),
        )
    if (cap := raw.get("maxProperties")) is not None:
        add(dict, lambda value: len(value) <= cap, lambda value, path: field_errors.too_many(path, len(value), cap))
    if (floor := raw.get("minProperties")) is not None:
        add(dict, lambda value: len(value) >= floor, said(f"should have at least {floor} properties", len))
    return checks


def _compositions(raw: Mapping[str, Any]) -> list[Check]:
    checks: list[Check] = []
    if branches := [_compiled(one) for one in raw.get("allOf") or ()]:
        checks.append(_all_of(branches))
    if alternatives := [_compiled(one) for one in raw.get("anyOf") or ()]:
        checks.append(_any_of(alternatives))
    if choices := [_compiled(one) for one in raw.get("oneOf") or ()]:
        checks.append(_one_of(choices))
    if "not" in raw:
        checks.append(_not(_compiled(raw["not"])))
    return checks


def _all_of(branches: list[Check]) -> Check:
    def check(value: Any, path: str, errors: Errors) -> None:
        for branch in branches:
            branch(value, path, errors)

    return check


def _any_of(branches: list[Check]) -> Check:
    def check(value: Any, path: str, errors: Errors) -> None:
        outcomes = _outcomes(branches, value, path)
        if all(outcomes):
            errors.append(_nowhere(f'"{path}" must validate at least one schema (anyOf)'))
            errors.extend(_nearest(outcomes))

    return check


def _one_of(branches: list[Check]) -> Check:
    def check(value: Any, path: str, errors: Errors) -> None:
        outcomes = _outcomes(branches, value, path)
        passed = sum(not outcome for outcome in outcomes)
        if passed == 1:
            return
        found = f"Found {passed} valid alternatives" if passed else "Found none valid"
        errors.append(_nowhere(f'"{path}" must validate one and only one schema (oneOf). {found}'))
        if not passed:
            errors.extend(_nearest(outcomes))

    return check


def _not(branch: Check) -> Check:
    def check(value: Any, path: str, errors: Errors) -> None:
        if not _outcomes([branch], value, path)[0]:
            errors.append(_nowhere(f'"{path}" must not validate the schema (not)'))

    return check


def _outcomes(branches: list[Check], value: Any, path: str) -> list[Errors]:
    outcomes: list[Errors] = []
    for branch in branches:
        found: Errors = []
        branch(value, path, found)
        outcomes.append(found)
    return outcomes


def _nearest(outcomes: list[Errors]) -> Errors:
    """What the branch that came closest found wrong."""
    return sorted(outcomes, key=len)[0]


def _nowhere(detail: str) -> FieldError:
    return field_errors.invalid(_NOWHERE, "", detail)


def _check_uniqueness(value: Any, schema: Schema | None, path: str, errors: Errors) -> None:
    """Lists of the types set and map hold each element or key once; the second one is told."""
    if schema is None:
        return
    if isinstance(value, list):
        keys = schema.list_keys if schema.list_type == "map" else ()
        if schema.list_type == "set" or keys:
            _check_elements(value, keys, path, errors)
        for position, item in enumerate(value):
            _check_uniqueness(item, schema.items, f"{path}[{position}]", errors)
    elif isinstance(value, dict):
        for name, item in value.items():
            inner = schema.properties.get(name) or schema.additional
            _check_uniqueness(item, inner, _join(path, name), errors)


def _check_elements(elements: list[Any], keys: tuple[str, ...], path: str, errors: Errors) -> None:
    seen: dict[bytes, int] = {}
    for position, element in enumerate(elements):
        if keys and element is not None and not isinstance(element, dict):
            detail = "must be an object for an array of list-type map"
            errors.append(field_errors.invalid(f"{path}[{position}]", element, detail))
            return
        told = {key: element[key] for key in keys if element and key in element} if keys else element
        times = seen[_key(told)] = seen.get(_key(told), 0) + 1
        if times == 2:
            errors.append(field_errors.duplicate(f"{path}[{position}]", told))


def _check_embedded(value: Any, schema: Schema | None, path: str, errors: Errors) -> None:
    """An object inside the object says what it is."""
    if schema is None:
        return
    if isinstance(value, list):
        for position, item in enumerate(value):
            _check_embedded(item, schema.items, f"{path}[{position}]", errors)
    elif isinstance(value, dict):
        for name in _OBJECT_FIELDS if schema.embedded_resource else ():
            given = value.get(name)
            if given is None:
                errors.append(field_errors.required(_join(path, name)))
            elif not isinstance(given, str):
                errors.append(field_errors.invalid(_join(path, name), given, "must be a string"))
            elif not given:
                errors.append(field_errors.invalid(_join(path, name), given, "must not be empty"))
        for name, item in value.items():
            _check_embedded(item, schema.properties.get(name) or schema.additional, _join(path, name), errors)


def _is_of(kind: str, value: Any) -> bool:
    match kind:
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _SHOWN[kind])


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return next((name for name, kind in _SHOWN.items() if isinstance(value, kind)), "null")


def _same(first: Any, second: Any) -> bool:
    # Python takes true for 1; JSON does not.
    return isinstance(first, bool) == isinstance(second, bool) and bool(first == second)


def _key(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _go_number(number: float) -> str:
    """A limit as Go prints it: 10, 0.5, 1e+21."""
    if isinstance(number, int) or number.is_integer():
        return str(int(number)) if abs(number) < 1e21 else f"{number:e}"
    return repr(number)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _body(path: str) -> str:
    return f"{path} in body"
