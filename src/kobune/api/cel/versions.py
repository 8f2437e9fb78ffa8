"""Semantic versions in CEL. Source: upstream apiserver/pkg/cel/library/semverlib.go and semver.org 2.0.0."""

import re
from functools import lru_cache
from typing import Any, NamedTuple

_NUMBER = r"(0|[1-9]\d*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


class Semver(NamedTuple):
    major: int
    minor: int
    patch: int
    # A release comes after its previews; numbers before words; fewer parts before more.
    preview: tuple[int, tuple[tuple[int, int, str], ...]]


@lru_cache(maxsize=1024)
def parse_semver(text: str, normalize: bool = False) -> Semver:
    """Raises ValueError. `normalize` takes a leading v, missing parts and leading zeros."""
    match = _SEMVER.fullmatch(_normalized(text) if normalize else text)
    if match is None:
        raise ValueError(f"semver parse error: invalid version {text!r}")
    parts = match[4].split(".") if match[4] else []
    if any(part.isdecimal() and len(part) > 1 and part[0] == "0" for part in parts):
        raise ValueError("semver parse error: numeric PreRelease version must not contain leading zeroes")
    keys = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
    return Semver(int(match[1]), int(match[2]), int(match[3]), (0, keys) if parts else (1, ()))


def compare(first: Any, second: Any) -> int:
    """-1, 0 or 1 for values that have an order."""
    return bool(first > second) - bool(first < second)


def _normalized(text: str) -> str:
    text = text.removeprefix("v")
    core = re.match(r"[^-+]*", text)
    head = core[0] if core else ""
    parts = [part.lstrip("0") or ("0" if part else part) for part in head.split(".")]
    return ".".join([*parts, *["0"] * (3 - len(parts))]) + text[len(head) :]
