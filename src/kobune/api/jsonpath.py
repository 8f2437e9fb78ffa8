"""JSONPath as Kubernetes has it, for the columns and subresources of custom kinds.

Fields (`.spec.replicas`, `['a.b']`, `.a\\.b`), indexes and slices (`[0]`, `[-1]`, `[0:2]`), wildcards (`[*]`, `.*`),
descent (`..name`) and filters (`[?(@.type=="Ready")]`). Source: upstream client-go util/jsonpath.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

_Step = Callable[[Any], Iterable[Any]]
_FIELD = re.compile(r"\.((?:[^.\[\]'\"()\s\\*]|\\.)+)")
_QUOTED = re.compile(r"""\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*\]""")
_INDEX = re.compile(r"\[\s*(-?\d+)\s*\]")
_SLICE = re.compile(r"\[\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(\d+)\s*)?\]")
_ANY = re.compile(r"\.\*|\[\s*\*\s*\]")
_FILTER = re.compile(r"\[\s*\?\s*\(((?:[^()'\"]|'[^']*'|\"[^\"]*\")*)\)\s*\]")
_DESCENT = re.compile(r"\.\.(?=[^.])")
_TERM = re.compile(r"""\s*(@[^=!<>\s]*|'[^']*'|"[^"]*"|-?\d+(?:\.\d+)?|true|false)\s*""")
_COMPARE = re.compile(r"(==|!=|<=|>=|<|>)")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class JsonPath:
    """A parsed path."""

    __slots__ = ("_steps", "text")

    def __init__(self, text: str, steps: tuple[_Step, ...]) -> None:
        self.text = text
        self._steps = steps

    def find(self, value: Any) -> list[Any]:
        """All values that the path leads to, in document order; none where something on the way is missing."""
        found = [value]
        for step in self._steps:
            found = [inner for one in found for inner in step(one)]
            if not found:
                break
        return found


@lru_cache(maxsize=1024)
def parse_path(text: str) -> JsonPath:
    """The path of `.spec.replicas` and the like.

    Raises:
        ValueError: not a path.
    """
    rest, steps = text.strip().removeprefix("$"), list[_Step]()
    while rest:
        if _DESCENT.match(rest):
            steps.append(_descendants)
            rest = rest[1:]  # What follows the two dots is an ordinary step with its own.
            continue
        step, length = _step(rest)
        if step is None:
            raise ValueError(f"unrecognized path {text!r} at {rest!r}")
        steps.append(step)
        rest = rest[length:]
    return JsonPath(text, tuple(steps))


def _step(text: str) -> tuple[_Step | None, int]:
    if match := _ANY.match(text):
        return _values, match.end()
    if match := _FIELD.match(text):
        return _field(re.sub(r"\\(.)", r"\1", match[1])), match.end()
    if match := _QUOTED.match(text):
        return _field(re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2])), match.end()
    if match := _INDEX.match(text):
        return _index(int(match[1])), match.end()
    if match := _SLICE.match(text):
        bounds = (int(bound) if bound else None for bound in match.groups())
        return _slice(slice(*bounds)), match.end()
    if match := _FILTER.match(text):
        return _filter(match[1]), match.end()
    return None, 0


def _field(name: str) -> _Step:
    return lambda value: (value[name],) if isinstance(value, dict) and name in value else ()


def _index(position: int) -> _Step:
    def at(value: Any) -> Iterable[Any]:
        if isinstance(value, list) and -len(value) <= position < len(value):
            return (value[position],)
        return ()

    return at


def _slice(bounds: slice) -> _Step:
    return lambda value: value[bounds] if isinstance(value, list) else ()


def _values(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return tuple(value.values())
    return value if isinstance(value, list) else ()


def _descendants(value: Any) -> Iterator[Any]:
    yield value
    for inner in _values(value):
        yield from _descendants(inner)


def _filter(text: str) -> _Step:
    parts = _COMPARE.split(text, maxsplit=1)
    left = _term(parts[0])
    if len(parts) == 1:
        return lambda value: [one for one in _values(value) if left(one)]
    compare, right = _OPERATORS[parts[1]], _term(parts[2])

    def holds(one: Any) -> bool:
        first, second = left(one), right(one)
        try:
            return bool(first and second and compare(first[0], second[0]))
        except TypeError:  # Values of different types have no order.
            return False

    return lambda value: [one for one in _values(value) if holds(one)]


def _term(text: str) -> Callable[[Any], list[Any]]:
    """What stands on one side of a comparison: a path from the element, or a constant."""
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f"unrecognized term {text.strip()!r}")
    term = match[1]
    if term.startswith("@"):
        return parse_path(term[1:]).find
    constant: Any
    if term[0] in "'\"":
        constant = term[1:-1]
    elif term in ("true", "false"):
        constant = term == "true"
    else:
        constant = float(term) if "." in term else int(term)
    return lambda _: [constant]
