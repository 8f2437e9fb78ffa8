"""Which objects are meant by their fields, as text in a query. Source: upstream apimachinery, fields."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from kobune.api.errors import BadRequest


class FieldRequirement(NamedTuple):
    field: str
    operator: str  # "=" or "!=".
    value: str

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{escape(self.value)}"


class FieldSelector:
    """A conjunction of field requirements; without any it matches everything."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: Sequence[FieldRequirement]) -> None:
        self.requirements = tuple(requirements)

    @property
    def is_everything(self) -> bool:
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        """A field that is not there counts as empty."""
        for field, operator, value in self.requirements:
            if (fields.get(field, "") == value) is not (operator == "="):
                return False
        return True

    def exact(self, field: str) -> str | None:
        """The value that this field must have, if the selector says so."""
        return next((one.value for one in self.requirements if one.field == field and one.operator == "="), None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSelector) and self.requirements == other.requirements

    def __hash__(self) -> int:
        return hash(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"FieldSelector({str(self)!r})"


@lru_cache(maxsize=4096)
def parse_fields(text: str) -> FieldSelector:
    """The selector that a `fieldSelector=` query means: `spec.nodeName=a,status.phase!=Failed`.

    A backslash before `\\`, `,` or `=` takes it as it is.

    Raises:
        BadRequest: not a selector; the message is upstream's.
    """
    requirements = []
    for term in sorted(_split_terms(text)):
        if not term:
            continue
        split = re.search("!=|==|=", term)
        if split is None:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        operator = "!=" if split[0] == "!=" else "="
        requirements.append(FieldRequirement(term[: split.start()], operator, unescape(term[split.end() :])))
    return FieldSelector(requirements)


def escape(value: str) -> str:
    """A value as it must stand in a field selector."""
    return re.sub(r"([\\,=])", r"\\\1", value)


def unescape(value: str) -> str:
    """The value that a field selector's text means.

    Raises:
        BadRequest: an unknown or unfinished escape, or a bare `,` or `=`.
    """
    if not re.search(r"[\\,=]", value):
        return value
    result, chars = [], iter(value)
    for char in chars:
        if char == "\\":
            following = next(chars, "")
            if following not in ("\\", ",", "="):
                raise BadRequest(f"invalid field selector: invalid escape sequence: \\{following}")
            result.append(following)
        elif char in ",=":
            raise BadRequest(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            result.append(char)
    return "".join(result)


def _split_terms(text: str) -> list[str]:
    """Between commas that no backslash precedes."""
    return re.findall(r"(?:^|,)((?:\\.|\\$|[^\\,])*)", text, re.DOTALL)
