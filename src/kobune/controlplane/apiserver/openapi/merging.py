"""One OpenAPI v2 document of several servers: their own paths, and the definitions that these need.

Source: upstream kube-openapi, pkg/aggregator.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from kobune.api.errors import Json

SECTIONS = ("definitions", "parameters")  # What is referred to as `#/SECTION/NAME`.
GVK = "x-kubernetes-group-version-kind"


class Description(NamedTuple):
    """What a server says of an API version: its whole document, of which the paths below `prefix` count."""

    prefix: str
    body: bytes


def merged(own: Json, others: Iterable[Description]) -> Json:
    """`own` with what the others describe; a document that cannot be read is left out, a path that is there stays."""
    whole = {**own, "paths": dict(own["paths"]), **{one: dict(own.get(one) or {}) for one in SECTIONS}}
    for other in others:
        try:
            _merge(whole, orjson.loads(other.body), other.prefix)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return {name: value for name, value in whole.items() if value or name in own}


def _merge(whole: Json, part: Json, prefix: str) -> None:
    paths = {
        path: item for path, item in part["paths"].items() if path.startswith(prefix) and path not in whole["paths"]
    }
    needed = _needed(paths, part)
    names = {(section, name): _name(whole[section], name, one) for (section, name), one in needed.items()}
    paths, renamed = _renamed(paths, names), _renamed(list(needed.values()), names)
    whole["paths"] |= paths
    for (section, _), name, one in zip(needed, names.values(), renamed, strict=True):
        whole[section][name] = _with_kinds(whole[section].get(name), one)


def _needed(paths: Json, part: Json) -> dict[tuple[str, str], Json]:
    """What the paths refer to, and what that refers to, by section and name."""
    found: dict[tuple[str, str], Json] = {}
    left: list[Any] = [paths]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += one.values()
            key = _target(one.get("$ref"))
            if key is not None and key not in found:
                found[key] = part[key[0]][key[1]]
                left.append(found[key])
    return found


def _target(reference: object) -> tuple[str, str] | None:
    if isinstance(reference, str) and reference.startswith("#/"):
        section, _, name = reference[2:].partition("/")
        if section in SECTIONS:
            return section, name
    return None


def _name(taken: Mapping[str, Json], name: str, definition: Json) -> str:
    """Its own, or with a number when something else has that."""
    candidate, number = name, 1
    while candidate in taken and _bare(taken[candidate]) != _bare(definition):
        number += 1
        candidate = f"{name}_v{number}"
    return candidate


def _bare(definition: Json) -> Json:
    """What makes a definition another one: its kinds and its wording do not."""
    return {name: value for name, value in definition.items() if name not in (GVK, "description")}


def _with_kinds(before: Json | None, definition: Json) -> Json:
    """A definition that both have, with the kinds that each says it is for."""
    if before is None:
        return definition
    kinds = list(before.get(GVK) or ())
    more = [one for one in definition.get(GVK) or () if one not in kinds]
    return {**before, GVK: kinds + more} if more else before


def _renamed(node: Any, names: Mapping[tuple[str, str], str]) -> Any:
    if isinstance(node, list):
        return [_renamed(one, names) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: _renamed(value, names) for key, value in node.items()}
    key = _target(node.get("$ref"))
    if key is not None and key in names:
        found["$ref"] = f"#/{key[0]}/{names[key]}"
    return found
