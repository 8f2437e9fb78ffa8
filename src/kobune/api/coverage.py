"""The documentation's table of what is served: `python -m kobune.api.coverage` writes docs/coverage.md to its output."""

import sys
from collections.abc import Iterable

from kobune.api.catalogue import KINDS, SUBRESOURCES, VERBS, Group, Kind, builtin

FIRST, LAST = 25, 37  # Minor versions that there are schemas for.
_HEAD = ("Kind", "Versions", "Scope", "Verbs", "Subresources", "Short names")
_INTRODUCTION = """\
# What the API serves

What discovery announces, by group and version: every kind that an upstream server of the same version serves by default.
"All" verbs are {verbs}; kinds with `create` alone are answered on the spot and not kept.
This page is generated from the catalogue: `python -m kobune.api.coverage > docs/coverage.md`.
"""


def render() -> str:
    """The page, in Markdown."""
    pages = [_INTRODUCTION.format(verbs=", ".join(VERBS))]
    for group, version in _group_versions():
        rows = sorted(
            (kind for kind in KINDS if (kind.group, kind.version) == (group, version)), key=lambda kind: kind.name
        )
        table = [_HEAD, tuple("---" for _ in _HEAD), *map(_row, rows)]
        lines = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
        pages.append(f"## {rows[0].api_version}\n\n{lines}\n")
    return "\n".join(pages)


def _group_versions() -> Iterable[tuple[str, str]]:
    """In the order of discovery, the core group first, then what only older versions serve."""
    groups = [Group("", ("v1",)), *builtin(f"1.{LAST}").groups()]
    current = [(group.name, version) for group in groups for version in group.versions]
    return dict.fromkeys([*current, *((kind.group, kind.version) for kind in KINDS)])


def _row(kind: Kind) -> tuple[str, ...]:
    verbs = "all" if kind.verbs == VERBS else _verbs(kind)
    parts = ", ".join(_part(kind, name) for name in sorted(kind.subresources)) or "–"
    scope = "namespaced" if kind.namespaced else "cluster"
    return kind.name, _versions(kind), scope, verbs, parts, ", ".join(kind.short) or "–"


def _verbs(kind: Kind) -> str:
    missing = [verb for verb in VERBS if verb not in kind.verbs]
    return f"all but {missing[0]}" if len(missing) == 1 else ", ".join(kind.verbs)


def _part(kind: Kind, name: str) -> str:
    since = SUBRESOURCES[name].since
    return f"{name} (from {since})" if _minor(since) > max(FIRST, _minor(kind.since)) else name


def _versions(kind: Kind) -> str:
    first, last = max(FIRST, _minor(kind.since)), _minor(kind.until) - 1 if kind.until else LAST
    if kind.until:
        return f"1.{first}" if first == last else f"1.{first} to 1.{last}"
    return "all" if first == FIRST else f"from 1.{first}"


def _minor(version: str) -> int:
    return int(version.split(".")[1])


if __name__ == "__main__":
    sys.stdout.write(render())
