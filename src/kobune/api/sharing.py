"""Texts and small maps that thousands of objects repeat, kept once. What is shared is never changed."""

from collections.abc import Mapping
from sys import intern
from typing import TypeVar, cast

V = TypeVar("V", str, str | int | float)

FEW = 8  # Larger maps, as nodes' labels, mostly hold a name of their own: of them the texts alone are shared.
_REMEMBERED = 4096

NONE: dict[str, str] = {}
_maps: dict[tuple[tuple[str, object], ...], object] = {}


def shared_texts(texts: Mapping[str, str]) -> dict[str, str]:
    """A map with these entries, whose texts are the same objects wherever they occur."""
    return {intern(name): intern(text) for name, text in texts.items()} if texts else NONE


def shared_map(entries: Mapping[str, V]) -> dict[str, V]:
    """The one map with these entries, such as the labels of a Deployment's pods or the amounts of a pool's nodes."""
    key = tuple(entries.items())
    found = _maps.get(key) if len(key) <= FEW else None
    if found is None:
        found = {intern(name): intern(value) if type(value) is str else value for name, value in key}
        if len(key) <= FEW:
            if len(_maps) >= _REMEMBERED:
                _maps.clear()
            _maps[tuple(found.items())] = found
    return cast("dict[str, V]", found)
