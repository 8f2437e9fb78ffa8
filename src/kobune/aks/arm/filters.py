"""The `$filter` of a list: terms joined by `and`, each a field, a comparison and a value, which az does not always quote."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kobune.aks.arm.errors import bad_request
from kobune.api.errors import Json

Fields = Mapping[str, Callable[[Json], object]]  # What a filter's names, in lower case, mean of an item.
_TERM = re.compile(r"\s*(\w+)\s+(eq|ge|gt|le|lt)\s+'?([^']*?)'?\s*", re.IGNORECASE)


class Term(NamedTuple):
    field: str
    comparison: str
    value: str


def parse_filter(text: str, fields: Fields) -> list[Term]:
    """The terms; none for an empty filter. Raises ArmError: one that is no comparison of these fields."""
    terms = []
    for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE) if text.strip() else ():
        found = _TERM.fullmatch(part)
        if found is None or found[1].lower() not in fields:
            raise bad_request("BadRequest", f"The filter {part!r} is not understood.", target="$filter")
        terms.append(Term(found[1].lower(), found[2].lower(), found[3].lower()))
    return terms


def lets_through(terms: Sequence[Term], item: Json, fields: Fields) -> bool:
    """Whether everything holds of the item. Letters' case does not count."""
    return all(_holds(str(fields[term.field](item)).lower(), term) for term in terms)


def matches_tag(resource: Json, wanted: str) -> bool:
    """Whether the resource has the tag, with the value, that a filter asks for: `tagName eq 'a' and tagValue eq 'b'`."""
    name = re.search(r"tagName eq '([^']*)'", wanted, re.IGNORECASE)
    value = re.search(r"tagValue eq '([^']*)'", wanted, re.IGNORECASE)
    if not name:
        return True
    tags = resource.get("tags") or {}
    return name[1] in tags and (not value or tags[name[1]] == value[1])


def _holds(value: str, term: Term) -> bool:
    if term.comparison == "eq":
        return value == term.value
    left, right = value.removesuffix("z"), term.value.removesuffix("z")  # Times, with fractions of seconds or without.
    match term.comparison:
        case "ge":
            return left >= right
        case "gt":
            return left > right
        case "le":
            return left <= right
        case _:
            return left < right
