"""Sets of field paths, in the form that metadata.managedFields gives them (FieldsV1), and their algebra.

A node is a dict. Below it stand its children, named `f:NAME` for a field, `k:{"name":"a"}` for an element by its keys,
`v:"x"` for an element by its value; `.` says that the node's own path is in the set, and so does a node without any
child. The root is in no set: an empty dict as a root is the empty set, and None stands for an empty node below it.
Nodes are shared between sets and never changed.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

Fields = dict[str, Any]  # A dict of dicts all the way down.
ITSELF = "."
MEMBER: Final[Fields] = {}  # The node of a path with nothing below it.


def is_member(node: Fields) -> bool:
    return not node or ITSELF in node


def field_set(paths: Iterable[tuple[str, ...]]) -> Fields:
    """The set of these paths."""
    result: Fields = {}
    for path in paths:
        below: Fields = MEMBER
        for element in reversed(path):
            below = {element: below}
        result = union(result, below)
    return result


def union(one: Fields, other: Fields) -> Fields:
    """The paths in either of two sets."""
    if not one or not other:
        return one or other
    return _union(one, other)


def difference(one: Fields, other: Fields) -> Fields:
    """The paths of `one` that are not in `other`; `one` itself when that is all of them."""
    return _difference(one, other) or {} if one and other else one


def intersection(one: Fields, other: Fields) -> Fields:
    """The paths in both of two sets."""
    return _intersection(one, other) or {} if one and other else {}


def excluding(one: Fields, subtrees: Fields) -> Fields:
    """The set without these paths and everything below them."""
    return _excluding(one, subtrees) or {} if one and subtrees else one


def only(one: Fields, subtrees: Fields) -> Fields:
    """Of the set these paths and everything below them; the element `*` is any."""
    result: Fields = {}
    for element, node in one.items():
        wanted = subtrees.get(element, subtrees.get("*"))
        if wanted is not None and element != ITSELF:
            kept = only(node, wanted) if wanted else node
            if kept or not wanted:
                result[element] = kept
    return result


def paths(node: Fields, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path in the set, parents before what is below them."""
    if prefix and is_member(node):
        yield prefix
    for element in sorted(node):
        if element != ITSELF:
            yield from paths(node[element], (*prefix, element))


def is_field_set(value: Any) -> bool:
    """Whether a value from outside is a set of paths."""
    if not isinstance(value, dict):
        return False
    waiting = [value]
    while waiting:
        for element, below in waiting.pop().items():
            if not isinstance(below, dict) or element[:2] not in ("f:", "k:", "v:", "i:", ITSELF):
                return False
            waiting.append(below)
    return True


def key_element(names: tuple[str, ...], values: tuple[Any, ...]) -> str:
    """The element that has these keys, given in the order of their names."""
    if len(names) == 1:
        return f'k:{{"{names[0]}":{orjson.dumps(values[0]).decode()}}}'
    return "k:" + orjson.dumps(dict(zip(names, values, strict=True))).decode()


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


def _union(one: Fields, other: Fields) -> Fields:
    if not one or not other:
        node = one or other
        return node if not node or ITSELF in node else {ITSELF: MEMBER, **node}
    result = dict(one)
    for element, below in other.items():
        mine = result.get(element)
        result[element] = below if mine is None else _union(mine, below)
    return result


def _difference(one: Fields, other: Fields) -> Fields | None:
    if not one:
        return None if is_member(other) else one
    if not other:
        other = {ITSELF: MEMBER}
    result = one
    for element, below in other.items():
        mine = one.get(element)
        if mine is None:
            continue
        left = _difference(mine, below)
        if left is mine:
            continue
        if result is one:
            result = dict(one)
        if left is None:
            del result[element]
        else:
            result[element] = left
    if len(result) == 1 and ITSELF in result:
        return MEMBER
    return result or None


def _intersection(one: Fields, other: Fields) -> Fields | None:
    if not one or not other:
        return MEMBER if is_member(one) and is_member(other) else None
    result: Fields = {}
    for element, below in one.items():
        theirs = other.get(element)
        if theirs is not None and (both := _intersection(below, theirs)) is not None:
            result[element] = both
    if len(result) == 1 and ITSELF in result:
        return MEMBER
    return result or None


def _excluding(node: Fields, subtrees: Fields) -> Fields | None:
    if not subtrees:
        return None
    result = node
    for element, below in subtrees.items():
        mine = node.get(element)
        if mine is None:
            continue
        left = _excluding(mine, below)
        if left is mine:
            continue
        if result is node:
            result = dict(node)
        if left is None:
            del result[element]
        else:
            result[element] = left
    if len(result) == 1 and ITSELF in result:
        return MEMBER
    return result if result or not node else None
