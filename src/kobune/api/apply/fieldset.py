"""A set of field paths as a tree, and its form in metadata.managedFields (FieldsV1)."""

from collections.abc import Iterator
from typing import Any

import orjson

from kobune.api.errors import Json

ITSELF = "."


class FieldSet:
    """A node: whether its own path is in the set, and what is below it.

    Children are named as in FieldsV1: `f:NAME` a field, `k:{"name":"a"}` an element by its keys, `v:"x"` by its value.
    """

    __slots__ = ("children", "member")

    def __init__(self, *, member: bool = False) -> None:
        self.member = member
        self.children: dict[str, FieldSet] = {}

    def child(self, element: str) -> "FieldSet":
        """The node below, made if need be."""
        node = self.children.get(element)
        if node is None:
            node = self.children[element] = FieldSet()
        return node

    def insert(self, path: tuple[str, ...]) -> None:
        node = self
        for element in path:
            node = node.child(element)
        node.member = True

    @property
    def is_empty(self) -> bool:
        return not self.member and all(child.is_empty for child in self.children.values())

    def union(self, other: "FieldSet") -> "FieldSet":
        result = FieldSet(member=self.member or other.member)
        for element in {**self.children, **other.children}:
            mine, theirs = self.children.get(element, EMPTY), other.children.get(element, EMPTY)
            result.children[element] = mine.union(theirs)
        return result

    def difference(self, other: "FieldSet") -> "FieldSet":
        """The paths that are not in `other`."""
        result = FieldSet(member=self.member and not other.member)
        for element, child in self.children.items():
            rest = child.difference(other.children.get(element, EMPTY))
            if not rest.is_empty:
                result.children[element] = rest
        return result

    def intersection(self, other: "FieldSet") -> "FieldSet":
        result = FieldSet(member=self.member and other.member)
        for element, child in self.children.items():
            if element in other.children:
                both = child.intersection(other.children[element])
                if not both.is_empty:
                    result.children[element] = both
        return result

    def paths(self, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Every path in the set, parents before what is below them."""
        if self.member:
            yield prefix
        for element in sorted(self.children):
            yield from self.children[element].paths((*prefix, element))

    def to_json(self) -> Json:
        """FieldsV1."""
        children = {element: child.to_json() for element, child in sorted(self.children.items()) if not child.is_empty}
        return {ITSELF: {}, **children} if self.member and children else children

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and list(self.paths()) == list(other.paths())

    __hash__ = None  # type: ignore[assignment]


EMPTY = FieldSet()


def from_json(fields: Json) -> FieldSet:
    """The set that FieldsV1 says; a node without anything below is a path of the set."""
    result = FieldSet(member=ITSELF in fields)
    for element, below in fields.items():
        if element != ITSELF:
            child = result.children[element] = from_json(below or {})
            child.member = child.member or not child.children
    return result


def key_element(keys: dict[str, Any]) -> str:
    """The element that has these keys."""
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def shown(path: tuple[str, ...]) -> str:
    """A path as conflicts show it: `.spec.containers[name="a"].image`."""
    text = ""
    for element in path:
        sort, _, rest = element.partition(":")
        if sort == "f":
            text += f".{rest}"
        elif sort == "k":
            keys = orjson.loads(rest)
            text += (
                "[" + ",".join(f"{name}={orjson.dumps(value).decode()}" for name, value in sorted(keys.items())) + "]"
            )
        else:
            text += f"[={rest}]" if sort == "v" else f"[{rest}]"
    return text
