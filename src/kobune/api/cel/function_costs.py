"""Functions of which the cost is neither one nor that of reading their argument.

Source: cel-go ext, upstream apiserver/pkg/cel/library/cost.go.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from kobune.api.cel.cost_ranges import LIST_BASE, MOST, ONE, REGEX_LENGTH, STRUCT_BASE, TRAVERSAL, Call, Range
from kobune.api.cel.syntax import Node

CHECK = 350_000  # To ask authorization.
LONGEST_FORMAT_PATTERN = 128


class Sizes(Protocol):
    """What is known of the values that expressions stand for."""

    def known(self, node: Node) -> Range:
        """The size of a value, anything if nothing is known."""

    def element_size(self, node: Node) -> Range:
        """The size of each element of a list."""

    def element_cost(self, node: Node) -> Range:
        """What it costs to look at one of them."""


FunctionCost = Callable[[Sizes, Node], Call | None]


def _search(sizes: Sizes, node: Node) -> Call | None:
    target = node.target
    if target is None:
        return None
    if target.type.name == "list":
        return Call(sizes.known(target).times(sizes.element_cost(target)))
    return Call(sizes.known(target).by(TRAVERSAL))


def _same_size(factor: float) -> FunctionCost:
    def call(sizes: Sizes, node: Node) -> Call:
        size = sizes.known(node.target if node.target is not None else node.parts[0])
        return Call(size.by(factor * TRAVERSAL), size)

    return call


def _replace(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None or len(node.parts) < 2:
        return None
    size, old, new = (sizes.known(one) for one in (node.target, *node.parts[:2]))
    most, kept = 0, size.most
    if old.least == 0:
        most = min(size.most + 1, MOST)
    elif new.most > old.least:
        most, kept = -(-size.most // old.least), 0
    least, left = 0, size.least
    if old.most == 0:
        least = min(size.least + 1, MOST)
    elif old.most > new.least:
        least, left = -(-size.least // old.most), 0
    return Call(size.by(2 * TRAVERSAL), Range(least, most).times(new).plus(Range(left, kept)))


def _split(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None:
        return None
    size = sizes.known(node.target)
    most = _number(node.parts[1], size.most) % (MOST + 1) if len(node.parts) > 1 else size.most
    return Call(size.by(2 * TRAVERSAL), Range(0, most))


def _join(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None:
        return None
    count = sizes.known(node.target)
    size = count.times(sizes.element_size(node.target))
    if node.parts:
        gaps = Range(max(count.least - 1, 0), max(count.most - 1, 0))
        size = size.plus(sizes.known(node.parts[0]).times(gaps))
    return Call(size.by(TRAVERSAL), size)


def _find(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None:
        return None
    size = sizes.known(node.target)
    pattern = sizes.known(node.parts[0]).by(REGEX_LENGTH)
    return Call(size.plus(ONE).by(TRAVERSAL).times(pattern), Range(0, size.most))


def _matches(sizes: Sizes, node: Node) -> Call | None:
    text, *rest = [node.target, *node.parts] if node.target is not None else node.parts
    if text is None or not rest or node.target is None:
        return None
    return Call(sizes.known(text).plus(ONE).by(TRAVERSAL).times(sizes.known(rest[0]).by(REGEX_LENGTH)))


def _contains(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None:
        return None
    return Call(sizes.known(node.target).by(TRAVERSAL).times(sizes.known(node.parts[0]).by(TRAVERSAL)))


def _begins(sizes: Sizes, node: Node) -> Call | None:
    return Call(sizes.known(node.parts[0]).by(TRAVERSAL)) if len(node.parts) == 1 else None


def _ip(sizes: Sizes, node: Node) -> Call | None:
    return Call(sizes.known(node.parts[0]).by(TRAVERSAL)) if node.parts else Call(ONE)


def _canonical(sizes: Sizes, node: Node) -> Call | None:
    return Call(sizes.known(node.parts[0]).by(2 * TRAVERSAL))


def _contains_address(whole: bool) -> FunctionCost:
    def call(sizes: Sizes, node: Node) -> Call:
        size = Range(4, 16)
        cost = size.plus(size).by(TRAVERSAL)
        if whole:
            cost = cost.plus(size.by(TRAVERSAL)).plus(ONE)
        if node.parts[0].type.name == "string":
            cost = cost.plus(sizes.known(node.parts[0]).by(TRAVERSAL))
        return Call(cost)

    return call


def _validate(sizes: Sizes, node: Node) -> Call | None:
    return Call(sizes.known(node.parts[0]).by(TRAVERSAL).by(LONGEST_FORMAT_PATTERN * REGEX_LENGTH))


def _selector(sizes: Sizes, node: Node) -> Call | None:
    size = sizes.known(node.parts[0])
    requirements = size.by(0.5)  # The shortest takes two characters.
    return Call(Range(LIST_BASE, LIST_BASE).plus(size.by(TRAVERSAL)).plus(requirements.by(LIST_BASE + STRUCT_BASE)))


def _sets(factor: float) -> FunctionCost:
    def call(sizes: Sizes, node: Node) -> Call | None:
        if len(node.parts) != 2:
            return None
        first, second = (sizes.known(part) for part in node.parts)
        return Call(first.times(second).by(factor).plus(ONE))

    return call


def _made_list(size: Range, factor: float = 1) -> Call:
    return Call(size.by(factor).plus(Range(LIST_BASE + 1, LIST_BASE + 1)), size)


def _squared(factor: float) -> FunctionCost:
    def call(sizes: Sizes, node: Node) -> Call | None:
        if node.target is None:
            return None
        size = sizes.known(node.target)
        is_text = bool(node.target.type.of) and node.target.type.of[0].name in ("string", "bytes")
        return _made_list(size.times(size), factor + (TRAVERSAL if is_text and node.name == "sort" else 0))

    return call


def _sorted_by(sizes: Sizes, node: Node) -> Call | None:
    size = sizes.known(node.parts[0])
    return _made_list(size.times(size), 2)


def _range(sizes: Sizes, node: Node) -> Call | None:
    return _made_list(_counted(_number(node.parts[0], MOST)))


def _slice(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None:
        return None
    start, end = _number(node.parts[0], 0), _number(node.parts[1], sizes.known(node.target).most)
    return _made_list(_counted((end - start) % (MOST + 1)))


def _flatten(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None:
        return None
    return _made_list(sizes.known(node.target), _number(node.parts[0], MOST) if node.parts else 1)


def _number(node: Node, other: int) -> int:
    is_number = isinstance(node.value, int) and not isinstance(node.value, bool)
    return int(node.value) if is_number else other


def _counted(size: int) -> Range:
    return Range(size, size)


def _reversed(sizes: Sizes, node: Node) -> Call | None:
    if node.target is None or node.target.type.name != "list":
        return None
    return _made_list(sizes.known(node.target))


def _quoted(sizes: Sizes, node: Node) -> Call | None:
    size = sizes.known(node.parts[0])
    return Call(size.by(TRAVERSAL), Range(size.least + 2, min(size.most * 2 + 2, MOST)))


def _formatted(sizes: Sizes, node: Node) -> Call | None:
    return Call(sizes.known(node.target).by(TRAVERSAL)) if node.target is not None else None


def _to_text(sizes: Sizes, node: Node) -> Call | None:
    size = sizes.known(node.parts[0])
    if node.overloads == ("string_to_bytes",):
        return Call(size.by(TRAVERSAL), Range(size.least, min(size.most * 4, MOST)))
    if node.overloads == ("bytes_to_string",):
        return Call(size.by(TRAVERSAL), Range(size.least // 4, size.most))
    return None


FUNCTIONS: Mapping[str, FunctionCost] = {
    "check": lambda _sizes, _node: Call(Range(CHECK, CHECK)),
    **dict.fromkeys(("fieldSelector", "labelSelector"), _selector),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _search),
    **dict.fromkeys(("url", "jsonpatch.escapeKey", "lowerAscii", "upperAscii", "substring", "trim"), _same_size(1)),
    "replace": _replace, "split": _split, "join": _join,
    "find": _find, "findAll": _find, "matches": _matches, "contains": _contains,
    "startsWith": _begins, "endsWith": _begins,
    "ip": _ip, "ip.isCanonical": _canonical,
    "containsIP": _contains_address(False), "containsCIDR": _contains_address(True),
    "validate": _validate,
    "sets.contains": _sets(1), "sets.intersects": _sets(1), "sets.equivalent": _sets(2),
    "distinct": _squared(2), "sort": _squared(2), "reverse": _reversed,
    "@sortByAssociatedKeys": _sorted_by, "lists.range": _range, "slice": _slice, "flatten": _flatten,
    "strings.quote": _quoted, "format": _formatted, "bytes": _to_text, "string": _to_text,
}  # fmt: skip
