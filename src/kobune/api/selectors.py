"""Which objects are meant by their labels, as text in a query and as JSON in a spec.

Source: Kubernetes documentation, Labels and Selectors; the grammar and the errors are those of upstream apimachinery.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from kobune.api import names
from kobune.api.errors import BadRequest
from kobune.api.field_errors import invalid, quote

JSON_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"  # As upstream lists them in its error.

_SYMBOLS = {"=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}
_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!<>(),]|[^=!<>(), \t\r\n]+|$)")
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LARGEST = 2**63


class Requirement(NamedTuple):
    """One condition on one label; an object must meet all of a selector's."""

    key: str
    operator: str  # "in", "notin", "=", "==", "!=", "exists", "!", "gt" or "lt".
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        number = None if value is None else _integer(value)
        if number is None:
            return False
        bound = int(self.values[0])
        return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        values = ",".join(sorted(self.values))
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({values})"
            case "gt":
                return f"{self.key}>{values}"
            case "lt":
                return f"{self.key}<{values}"
        return f"{self.key}{self.operator}{values}"


class LabelSelector:
    """A conjunction of requirements, in order of key. Without any it matches everything, unless it is `NOTHING`."""

    __slots__ = ("_equal", "_others", "nothing", "requirements")

    def __init__(self, requirements: Sequence[Requirement], *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda requirement: requirement.key))
        self.nothing = nothing
        self._equal = tuple((one.key, one.values[0]) for one in self.requirements if one.operator in ("=", "=="))
        self._others = tuple(one for one in self.requirements if one.operator not in ("=", "=="))

    @property
    def is_everything(self) -> bool:
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        for key, value in self._equal:
            if labels.get(key) != value:
                return False
        return not self._others or all(one.matches(labels) for one in self._others)

    def exact(self, key: str) -> str | None:
        """The one value that this label must have, if the selector says so."""
        for requirement in self.requirements:
            if requirement.key == key:
                single = requirement.operator in ("=", "==", "in") and len(requirement.values) == 1
                return requirement.values[0] if single else None
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSelector) and (self.requirements, self.nothing) == (
            other.requirements,
            other.nothing,
        )

    def __hash__(self) -> int:
        return hash((self.requirements, self.nothing))

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"LabelSelector({'NOTHING' if self.nothing else str(self)!r})"


EVERYTHING = LabelSelector(())
NOTHING = LabelSelector((), nothing=True)


@lru_cache(maxsize=4096)
def parse_labels(text: str) -> LabelSelector:
    """The selector that a `labelSelector=` query means: `app=web,tier in (a, b),!old,gen>3`. Empty text is everything.

    Raises:
        BadRequest: not a selector; the message is upstream's.
    """
    return LabelSelector(_LabelParser(text).parse()) if text else EVERYTHING


def labels_from_json(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector that an object's `matchLabels` and `matchExpressions` mean. None is nothing, {} everything.

    Raises:
        BadRequest: an operator, key or value that cannot be.
    """
    if selector is None:
        return NOTHING
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or ()
    if not labels and not expressions:
        return EVERYTHING
    return _from_parts(
        tuple(labels.items()),
        tuple((each.get("key", ""), each.get("operator", ""), tuple(each.get("values") or ())) for each in expressions),
    )


def labels_from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector of a Service or ReplicationController: exactly these labels. None and {} are everything."""
    return LabelSelector([Requirement(key, "=", (value,)) for key, value in labels.items()]) if labels else EVERYTHING


def requirement(key: str, operator: str, values: Sequence[str], *, path: str = "") -> Requirement:
    """A checked requirement; `path` is the field that it stands in, for the errors.

    Raises:
        BadRequest: naming every fault.
    """
    errors = [_bad_key(key, _child(path, "key"))] if names.is_qualified_name(key) else []
    at = _child(path, "values")
    if operator in ("in", "notin") and not values:
        errors.append(_invalid(at, [], "for 'in', 'notin' operators, values set can't be empty"))
    elif operator in ("=", "==", "!=") and len(values) != 1:
        errors.append(_invalid(at, list(values), "exact-match compatibility requires one single value"))
    elif operator in ("exists", "!") and values:
        errors.append(_invalid(at, list(values), "values set must be empty for exists and does not exist"))
    elif operator in ("gt", "lt"):
        if len(values) != 1:
            errors.append(_invalid(at, list(values), "for 'Gt', 'Lt' operators, exactly one value is required"))
        for index, value in enumerate(values):
            if _integer(value) is None:
                errors.append(
                    _invalid(f"{at}[{index}]", value, "for 'Gt', 'Lt' operators, the value must be an integer")
                )
    for index, value in enumerate(values):
        if wrong := names.is_label_value(value):
            errors.append(_invalid(f"{at}[{index}][{key}]", value, "; ".join(wrong)))
    if errors:
        unique = list(dict.fromkeys(errors))
        raise BadRequest(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")
    return Requirement(key, operator, tuple(values))


@lru_cache(maxsize=8192)
def _from_parts(
    labels: tuple[tuple[str, str], ...], expressions: tuple[tuple[str, str, tuple[str, ...]], ...]
) -> LabelSelector:
    requirements = [requirement(key, "=", (value,)) for key, value in labels]
    for key, operator, values in expressions:
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise BadRequest(f"{quote(operator)} is not a valid label selector operator")
        requirements.append(requirement(key, JSON_OPERATORS[operator], values))
    return LabelSelector(requirements)


class _LabelParser:
    """Reads requirements token by token. `in` and `notin` are operators only after a key."""

    def __init__(self, text: str) -> None:
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        while self._tokens and not self._tokens[-1]:
            self._tokens.pop()
        self._next = 0

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while token := self._peek():
            if not (_is_word(token) or token == "!"):
                raise BadRequest(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except BadRequest as error:
                raise BadRequest(f"unable to parse requirement: {error}") from None
            token = self._take()
            if not token:
                break
            if token != ",":
                raise BadRequest(f"found '{token}', expected: ',' or 'end of string'")
            if not (_is_word(following := self._peek()) or following == "!"):
                raise BadRequest(f"found '{following}', expected: identifier after ','")
        return requirements

    def _requirement(self) -> Requirement:
        key = self._take()
        absent = key == "!"
        if absent:
            key = self._take()
        if not _is_word(key):
            raise BadRequest(f"found '{key}', expected: identifier")
        if names.is_qualified_name(key):
            raise BadRequest(_bad_key(key, "<nil>"))
        if absent and self._peek() in ("", ","):
            return requirement(key, "!", ())
        if self._peek() in ("", ","):
            return requirement(key, "exists", ())
        if absent:
            # Upstream takes `!key` for the whole requirement; whatever follows is then out of place.
            return requirement(key, "!", ())
        operator = self._take()
        if operator in ("in", "notin"):
            return requirement(key, operator, sorted(self._values()))
        if operator not in _SYMBOLS:
            raise BadRequest(f"found '{operator}', expected: {BINARY_OPERATORS}")
        return requirement(key, _SYMBOLS[operator], (self._exact_value(),))

    def _exact_value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._take()
        if not _is_word(value):
            raise BadRequest(f"found '{value}', expected: identifier")
        return value

    def _values(self) -> set[str]:
        opening = self._take()
        if opening != "(":
            raise BadRequest(f"found '{opening}' expected: '('")
        first = self._peek()
        if first == ")":
            self._take()
            return {""}
        if not (_is_word(first) or first == ","):
            raise BadRequest(f"found '{first}', expected: ',', ')' or identifier")
        values, pending = set[str](), True  # Pending: a value must come next, or it is empty.
        while True:
            token = self._take()
            if token == ")":
                return values | {""} if pending else values
            if token == ",":
                if pending:
                    values.add("")
                pending = True
            elif not _is_word(token):
                raise BadRequest(f"found '{token}', expected: ',', or identifier")
            elif not pending:
                raise BadRequest(f"found '{token}', expected: ',' or ')'")
            else:
                values.add(token)
                pending = False
                if (following := self._peek()) not in (",", ")"):
                    raise BadRequest(f"found '{following}', expected: ',' or ')'")

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token


def _is_word(token: str) -> bool:
    return token != "" and token[0] not in "=!<>(),"


def _bad_key(key: str, path: str) -> str:
    return _invalid(path, key, "; ".join(names.is_qualified_name(key)))


def _invalid(path: str, value: Any, detail: str) -> str:
    return f"{path}: {invalid(path, value, detail).message}"


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _integer(text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -_LARGEST <= number < _LARGEST else None
