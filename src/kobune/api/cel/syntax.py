"""A checked expression as a tree, read from the form in which the engine gives it out (cel.expr.CheckedExpr).

Source: the messages of cel-spec, cel/expr/syntax.proto and checked.proto.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_Fields = dict[int, list[Any]]
_PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "dyn", 2: "timestamp", 3: "duration"}


@dataclass(frozen=True, slots=True)
class Type:
    """`name`: a plain type, "list", "map", "dyn", or the full name of a message or an opaque type."""

    name: str
    of: tuple["Type", ...] = ()


DYN = Type("dyn")


@dataclass(slots=True)
class Node:
    """One expression.

    Attributes:
        kind: "literal", "ident", "select", "call", "list", "map", "struct", "fold".
        name: of an identifier, a selected field, a function; of a fold the variable that it collects in.
        value: of a literal.
        target: what a field is selected from, a method called of.
        parts: a call's arguments, a list's elements, a map's keys and values in turn, a struct's values; of a fold its
            range, its beginning, its condition, its step and its result.
        variables: of a fold one name for each element, or two.
        overloads: the declarations that a call may mean.
    """

    id: int
    kind: str
    name: str = ""
    value: Any = None
    target: "Node | None" = None
    parts: list["Node"] = field(default_factory=list)
    variables: tuple[str, ...] = ()
    is_test: bool = False  # has(x.y)
    overloads: tuple[str, ...] = ()
    type: Type = DYN


def read(serialized: bytes) -> Node:
    """The tree of a serialized expression, each node with its type."""
    checked = _fields(_fields(serialized)[2][0])  # In an Any.
    types = {one[1][0]: _type(one[2][0]) for entry in checked.get(3, ()) if (one := _entry(entry))}
    overloads = {
        one[1][0]: tuple(text.decode() for text in _fields(one[2][0]).get(3, ()))
        for entry in checked.get(2, ())
        if (one := _entry(entry))
    }
    return _node(checked[4][0], types, overloads)


def _entry(data: bytes) -> _Fields:
    entry = _fields(data)
    return {1: entry.get(1, [0]), 2: entry.get(2, [b""])}


def _node(data: bytes, types: dict[int, Type], overloads: dict[int, tuple[str, ...]]) -> Node:
    given = _fields(data)
    number = given.get(2, [0])[0]
    node = Node(number, "literal", type=types.get(number, DYN))

    def inner(fields: _Fields, key: int) -> list[Node]:
        return [_node(one, types, overloads) for one in fields.get(key, ())]

    if 3 in given:
        node.value = _constant(_fields(given[3][0]))
    elif 4 in given:
        node.kind, node.name = "ident", _text(_fields(given[4][0]), 1)
    elif 5 in given:
        select = _fields(given[5][0])
        node.kind, node.name, node.is_test = "select", _text(select, 2), bool(select.get(3, [0])[0])
        node.target = inner(select, 1)[0]
    elif 6 in given:
        call = _fields(given[6][0])
        node.kind, node.name, node.parts = "call", _text(call, 2), inner(call, 3)
        node.target = next(iter(inner(call, 1)), None)
        node.overloads = overloads.get(number, ())
    elif 7 in given:
        node.kind, node.parts = "list", inner(_fields(given[7][0]), 1)
    elif 8 in given:
        built = _fields(given[8][0])
        node.kind = "struct" if built.get(1, [b""])[0] else "map"
        for entry in map(_fields, built.get(2, ())):
            node.parts += [*inner(entry, 3), *inner(entry, 4)]
    elif 9 in given:
        fold = _fields(given[9][0])
        node.kind, node.name = "fold", _text(fold, 3)
        node.variables = tuple(name for name in (_text(fold, 1), _text(fold, 8)) if name)
        node.parts = [inner(fold, key)[0] for key in (2, 4, 5, 6, 7)]
    return node


def _constant(fields: _Fields) -> Any:
    for key, read_value in (
        (2, bool), (3, lambda raw: raw - (1 << 64) if raw >> 63 else raw), (4, int),
        (5, lambda raw: struct.unpack("<d", raw)[0]), (6, bytes.decode), (7, bytes),
    ):  # fmt: skip
        if key in fields:
            return read_value(fields[key][0])
    return None


def _type(data: bytes) -> Type:
    given = _fields(data)
    if 3 in given:
        return Type(_PRIMITIVES.get(given[3][0], "dyn"))
    if 4 in given:
        return Type(_PRIMITIVES.get(given[4][0], "dyn"))
    if 5 in given:
        return Type(_WELL_KNOWN.get(given[5][0], "dyn"))
    if 2 in given:
        return Type("null")
    if 6 in given:
        return Type("list", (_inner(given[6][0], 1),))
    if 7 in given:
        return Type("map", (_inner(given[7][0], 1), _inner(given[7][0], 2)))
    if 9 in given:
        return Type(given[9][0].decode())
    if 11 in given:
        return Type("type", (_type(given[11][0]),))
    if 14 in given:
        opaque = _fields(given[14][0])
        return Type(_text(opaque, 1), tuple(_type(one) for one in opaque.get(2, ())))
    return DYN


def _inner(data: bytes, key: int) -> Type:
    found = _fields(data).get(key)
    return _type(found[0]) if found else DYN


def _text(fields: _Fields, key: int) -> str:
    return bytes(fields.get(key, [b""])[0]).decode()


def _fields(data: bytes) -> _Fields:
    """A message's fields by their numbers; texts and messages as bytes."""
    result: _Fields = {}
    for number, value in _wire(data):
        result.setdefault(number, []).append(value)
    return result


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 1:
                yield tag >> 3, data[at : at + 8]
                at += 8
            case 2:
                size, at = _varint(data, at)
                yield tag >> 3, data[at : at + size]
                at += size
            case _:
                yield tag >> 3, data[at : at + 4]
                at += 4


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
