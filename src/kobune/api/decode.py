"""Decoding as upstream does: wrong types are refused, unknown fields found and dropped, values brought to their one form.

Every write passes here, so each type is compiled once into a function over a table of its fields. Source of wording and
paths: Go's encoding/json and sigs.k8s.io/json as Kubernetes 1.36 uses them.
"""

import binascii
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from kobune.api.errors import BadRequest
from kobune.api.quantity import canonical
from kobune.api.schema import Json, Schema
from kobune.api.timestamps import canonical_micro, canonical_time

# Appends the paths of unknown fields, as pieces from the innermost outwards; gives what replaces the value.
Check = Callable[[Any, "Unknown"], Any]
Unknown = list[list[str]]
# A scalar whose class settles it needs no call.
Rule = type | Check

_KEEP_COUNT = 100  # Upstream stops counting strictness errors there.
_MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"
_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_GO_SCALARS = {"string": "string", "boolean": "bool", "number": "float64", "integer": "int64"}
_LINE_BREAKS = re.compile(r"[\r\n]")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


class _Wrong(Exception):
    """A value that does not decode. The path grows while the exception climbs."""

    def __init__(self, given: str, wanted: str) -> None:
        self.given, self.wanted = given, wanted
        self.fields: list[str] = []
        self.struct = ""

    def within(self, struct: str, field: str) -> None:
        self.struct = self.struct or struct
        self.fields.append(field)

    def __str__(self) -> str:
        where = f"struct field {self.struct}.{'.'.join(reversed(self.fields))}" if self.struct else "value"
        return f"json: cannot unmarshal {self.given} into Go {where} of type {self.wanted}"


def check(schema: Schema, obj: Json, *, kind: str, version: str) -> list[str]:
    """Decode `obj` in place and return the paths of the unknown fields that were dropped, such as `spec.ports[0].foo`.

    Nulls go, as do empty lists and maps of optional fields; quantities, times and base64 take their canonical form.

    Args:
        kind, version: as the object says, for the message.
    Raises:
        BadRequest: a value has the wrong type or form; the first one is told.
    """
    unknown: Unknown = []
    try:
        _compiled(schema.shape)(obj, unknown)
    except (_Wrong, ValueError) as error:
        raise cannot_handle(kind, version, str(error)) from error
    return ["".join(reversed(pieces)).removeprefix(".") for pieces in unknown[:_KEEP_COUNT]] if unknown else []


def strict_error(kind: str, version: str, problems: list[str]) -> BadRequest:
    """What fieldValidation=Strict answers; `problems` are `unknown_field`s and `duplicate_field`s."""
    return cannot_handle(kind, version, f"strict decoding error: {', '.join(problems)}")


def cannot_handle(kind: str, version: str, why: str) -> BadRequest:
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def unknown_field(path: str) -> str:
    """Also the text of the warning when fieldValidation=Warn."""
    return f'unknown field "{path}"'


def duplicate_field(path: str) -> str:
    return f'duplicate field "{path}"'


@cache
def _compiled(schema: Schema) -> Check:
    """The check of a named type or an unnamed node; callers pass `shape`s, so that one type compiles once."""
    if schema.int_or_string:
        return _int_or_string
    match schema.type:
        case "string":
            return _text(schema)
        case "boolean":
            return _scalar(bool, "bool")
        case "integer":
            return _integer(schema)
        case "number":
            return _number
        case "array":
            return _array(schema)
        case "object" if schema.additional:
            return _map(schema)
        case "object":
            return _struct(schema)
    return _anything


def _rule(schema: Schema) -> Rule:
    if schema.type == "string" and not schema.format:
        return str
    return bool if schema.type == "boolean" else _compiled(schema.shape)


def _struct(schema: Schema) -> Check:
    name = go_type(schema)
    short = name.rpartition(".")[2]
    rules: dict[str, Rule] = {}
    vanishing: frozenset[str] = frozenset()  # Optional lists and maps: Go leaves them out when empty.

    def prepare() -> None:
        # Types contain themselves, so the fields' rules are made at the first use.
        nonlocal vanishing
        fields = schema.properties
        required = schema.required
        vanishing = frozenset(
            field
            for field, shape in fields.items()
            if field not in required and (shape.type == "array" or shape.additional is not None)
        )
        rules.update({field: _rule(shape) for field, shape in fields.items()})

    def check_struct(value: Any, unknown: Unknown) -> Any:
        if value.__class__ is not dict:
            raise _Wrong(_json_type(value), name)
        if not rules:
            prepare()
        dropped: list[str] = []
        field = ""
        try:
            for field, item in value.items():
                rule = rules.get(field)
                if item.__class__ is rule:
                    continue
                if rule is None:
                    unknown.append([f".{field}"])
                    dropped.append(field)
                elif item is None:
                    dropped.append(field)
                elif isinstance(rule, type):
                    raise _Wrong(_json_type(item), "string" if rule is str else "bool")
                else:
                    before = len(unknown)
                    checked = rule(item, unknown)
                    if checked is not item:
                        value[field] = checked  # The key is there already, so the iteration stays valid.
                    if not item and field in vanishing:
                        dropped.append(field)
                    if len(unknown) > before:
                        for pieces in unknown[before:]:
                            pieces.append(f".{field}")
        except _Wrong as wrong:
            wrong.within(short, field)
            raise
        for field in dropped:
            del value[field]
        return value

    return check_struct


def _array(schema: Schema) -> Check:
    name = go_type(schema)
    element = schema.items or Schema({})
    rule = _rule(element)
    zero = _zero(element)

    if rule is str:

        def check_strings(value: Any, unknown: Unknown) -> Any:
            if value.__class__ is not list:
                raise _Wrong(_json_type(value), name)
            for position, item in enumerate(value):
                if item.__class__ is not str:
                    if item is not None:
                        raise _Wrong(_json_type(item), "string")
                    value[position] = ""
            return value

        return check_strings

    each = _scalar(bool, "bool") if isinstance(rule, type) else rule

    def check_array(value: Any, unknown: Unknown) -> Any:
        if value.__class__ is not list:
            raise _Wrong(_json_type(value), name)
        for position, item in enumerate(value):
            if item is None:
                value[position] = zero()
                continue
            before = len(unknown)
            checked = each(item, unknown)
            if checked is not item:
                value[position] = checked
            if len(unknown) > before:
                for pieces in unknown[before:]:
                    pieces.append(f"[{position}]")
        return value

    return check_array


def _map(schema: Schema) -> Check:
    name = go_type(schema)
    values = schema.additional or Schema({})
    rule = _rule(values)
    zero = _zero(values)

    if rule is str:

        def check_strings(value: Any, unknown: Unknown) -> Any:
            if value.__class__ is not dict:
                raise _Wrong(_json_type(value), name)
            for key, item in value.items():
                if item.__class__ is not str:
                    if item is not None:
                        raise _Wrong(_json_type(item), "string")
                    value[key] = ""
            return value

        return check_strings

    each = _scalar(bool, "bool") if isinstance(rule, type) else rule

    def check_map(value: Any, unknown: Unknown) -> Any:
        if value.__class__ is not dict:
            raise _Wrong(_json_type(value), name)
        for key, item in value.items():
            if item is None:
                value[key] = zero()
                continue
            before = len(unknown)
            checked = each(item, unknown)
            if checked is not item:
                value[key] = checked
            if len(unknown) > before:
                for pieces in unknown[before:]:
                    pieces.append(f".{key}")
        return value

    return check_map


def _text(schema: Schema) -> Check:
    match schema.format:
        case "quantity":
            return _quantity
        case "date-time":
            return _written_as(canonical_micro if schema.definition == _MICRO_TIME else canonical_time)
        case "byte":
            return _base64
    return _scalar(str, "string")


def _scalar(wanted: type, name: str) -> Check:
    def check_scalar(value: Any, unknown: Unknown) -> Any:
        if value.__class__ is not wanted:
            raise _Wrong(_json_type(value), name)
        return value

    return check_scalar


def _written_as(form: Callable[[str], str]) -> Check:
    def check_form(value: Any, unknown: Unknown) -> Any:
        if value.__class__ is not str:
            raise _Wrong(_json_type(value), "string")
        return form(value)

    return check_form


def _integer(schema: Schema) -> Check:
    name = go_type(schema)
    least, most = _INTEGERS.get(schema.format, _INTEGERS["int64"])

    def check_integer(value: Any, unknown: Unknown) -> Any:
        if value.__class__ is not int:
            raise _Wrong(_json_type(value, exact=True), name)
        if not least <= value <= most:
            raise _Wrong(f"number {value}", name)
        return value

    return check_integer


def _number(value: Any, unknown: Unknown) -> Any:
    if value.__class__ is not float and value.__class__ is not int:
        raise _Wrong(_json_type(value), "float64")
    return value


def _int_or_string(value: Any, unknown: Unknown) -> Any:
    if value.__class__ is str:
        return value
    least, most = _INTEGERS["int32"]
    if value.__class__ is not int or not least <= value <= most:
        raise _Wrong(_json_type(value, exact=True), "int32")
    return value


def _quantity(value: Any, unknown: Unknown) -> Any:
    if value.__class__ is str or value.__class__ is int or value.__class__ is float:
        return canonical(value)
    return canonical(orjson.dumps(value).decode())  # Upstream reads whatever stands there as an amount, and fails.


def _base64(value: Any, unknown: Unknown) -> Any:
    if value.__class__ is not str:
        raise _Wrong(_json_type(value), "[]uint8")
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        plain = _LINE_BREAKS.sub("", value)
        try:
            return binascii.b2a_base64(binascii.a2b_base64(plain, strict_mode=True), newline=False).decode()
        except binascii.Error as error:
            raise ValueError(f"illegal base64 data at input byte {_base64_fault(plain)}") from error
    return value


def _base64_fault(text: str) -> int:
    """Where Go's decoder gives up: at a foreign character, else at the quantum that the text breaks off in."""
    foreign = _NOT_BASE64.search(text)
    if foreign is None:
        return len(text) - len(text) % 4
    return foreign.start() if text[foreign.start()] != "=" or foreign.start() % 4 < 2 else len(text.rstrip("="))


def _anything(value: Any, unknown: Unknown) -> Any:
    return value


def _zero(schema: Schema) -> Callable[[], Any]:
    """What Go makes of a null that is an element: the zero value."""
    match schema.type:
        case "string":
            return lambda: "0" if schema.format == "quantity" else ""
        case "boolean":
            return lambda: False
        case "integer" | "number":
            return lambda: 0
        case "array":
            return list
        case "object":
            return dict
    return lambda: None


def go_type(schema: Schema) -> str:
    """The type's name in upstream's error messages: `v1.PodSpec`, `[]v1.Container`, `map[string]string`, `int32`."""
    if schema.int_or_string:
        return "intstr.IntOrString"
    if schema.definition:
        return re.sub(r".*\.(.*\..*)", r"\1", schema.definition)
    match schema.type:
        case "array":
            return f"[]{go_type(schema.items or Schema({}))}"
        case "object":
            return f"map[string]{go_type(schema.additional or Schema({}))}"
        case "integer" if schema.format:
            return schema.format
        case "string" if schema.format == "byte":
            return "[]uint8"
    return _GO_SCALARS.get(schema.type, "interface {}")


def _json_type(value: Any, *, exact: bool = False) -> str:
    """What encoding/json calls a value; `exact` numbers are quoted, as it does where an integer was wanted."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return f"number {value}" if exact else "number"
        case list():
            return "array"
        case dict():
            return "object"
    return "null"
