"""Sets of completion indexes as a Job writes them: "0,3-5,7"."""

import re

from kobune.api.field_errors import quote


def count_indexes(text: str, completions: int) -> int:
    """How many indexes the text names. Raises ValueError in upstream's words; they must rise and stay below `completions`."""
    total, last = 0, -1
    for interval in text.split(",") if text else ():
        first, final = parse_interval(interval, completions)
        if last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += final - first + 1
        last = final
    return total


def first_shared(one: str, other: str, completions: int) -> int | None:
    """The lowest index that both name; intervals that cannot be read do not count."""
    shared = None
    others = _intervals(other, completions)
    for first, final in _intervals(one, completions):
        for low, high in others:
            if first <= high and low <= final:
                shared = max(first, low) if shared is None else min(shared, max(first, low))
    return shared


def parse_interval(text: str, completions: int) -> tuple[int, int]:
    """First and last index of `3` or `3-5`. Raises ValueError."""
    parts = text.split("-")
    if len(parts) > 2:
        raise ValueError(
            f"the fragment {quote(text)} violates the requirement that an index interval can have at most two parts separated by '-'"
        )
    first = _index(parts[0], completions)
    if len(parts) == 1:
        return first, first
    final = _index(parts[1], completions)
    if first >= final:
        raise ValueError(f"non-increasing order, previous: {first}, current: {final}")
    return first, final


def _index(text: str, completions: int) -> int:
    if not re.fullmatch("[+]?[0-9]+", text, re.ASCII):
        raise ValueError(f"cannot convert string to integer for index: {quote(text)}")
    if int(text) >= completions:
        raise ValueError(f"too large index: {quote(text)}")
    return int(text)


def _intervals(text: str, completions: int) -> list[tuple[int, int]]:
    found = []
    for interval in text.split(",") if text else ():
        try:
            found.append(parse_interval(interval, completions))
        except ValueError:
            continue
    return found
