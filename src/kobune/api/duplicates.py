"""Finds fields that a JSON body gives twice; the fast parser silently keeps the last."""

import json
from typing import Any

import orjson

_KEEP_COUNT = 100  # Upstream stops counting strictness errors there.


class _Pairs(list[tuple[str, Any]]):
    """An object as written."""


def duplicate_fields(body: bytes, decoded: Any) -> list[str]:
    """The paths of fields given more than once, such as `spec.replicas`, in the order of the body.

    Args:
        body: valid JSON.
        decoded: what it decodes to, before any change.
    """
    written = orjson.dumps(decoded)
    if written == body:
        return []  # As most programs write it, without spaces.
    # Every field costs one colon, and one that was dropped is missing when the value is written again. Colons inside
    # strings stand in both, unless the body spells one as an escape.
    if body.count(b":") == written.count(b":") and b"\\u003" not in body:
        return []
    found: dict[str, None] = {}
    _walk(json.loads(body, object_pairs_hook=_Pairs), "", found)
    return list(found)[:_KEEP_COUNT]


def _walk(value: Any, path: str, found: dict[str, None]) -> None:
    if isinstance(value, _Pairs):
        seen = set()
        for key, item in value:
            inner = f"{path}.{key}" if path else key
            if key in seen:
                found[inner] = None
            seen.add(key)
            _walk(item, inner, found)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _walk(item, f"{path}[{position}]", found)
