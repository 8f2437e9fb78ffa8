"""Texts and small maps that thousands of objects repeat, kept once. What is shared is never changed."""

from collections.abc import Mapping
from sys import intern
from typing import Any, Generic, TypeVar, cast

import msgspec

V = TypeVar("V", str, str | int | float)
T = TypeVar("T")

FEW = 8  # Larger maps, as nodes' labels, mostly hold a name of their own: of them the texts alone are shared.
_REMEMBERED = 4096

NONE: dict[str, str] = {}
_NOTHING: list[Any] = []
_maps: dict[tuple[tuple[str, object], ...], dict[str, Any]] = {}


def shared_texts(texts: Mapping[str, str]) -> dict[str, str]:
    """A map with these entries, whose texts are the same objects wherever they occur."""
    return dict(zip(map(intern, texts), map(intern, texts.values()), strict=True)) if texts else NONE


def shared_map(entries: Mapping[str, V]) -> dict[str, V]:
    """The one map with these entries, such as the labels of a Deployment's pods or the amounts of a pool's nodes."""
    if len(entries) > FEW:
        return _with_shared_texts(entries)
    found = _maps.get(tuple(entries.items()))
    if found is None:
        found = _with_shared_texts(entries)
        if len(_maps) >= _REMEMBERED:
            _maps.clear()
        _maps[tuple(found.items())] = found
    return cast("dict[str, V]", found)


def _with_shared_texts(entries: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(zip(map(intern, entries), map(intern, entries.values()), strict=True))
    except TypeError:  # Numbers are among the values.
        return {intern(name): intern(value) if type(value) is str else value for name, value in entries.items()}


def nothing() -> list[Any]:
    """The one empty list."""
    return _NOTHING


def no_entries() -> dict[str, Any]:
    """The one empty map."""
    return cast("dict[str, Any]", NONE)


class Shared(Generic[T]):
    """Values of one type, such as the containers of a Deployment's pods: those that say the same are one object."""

    def __init__(self) -> None:
        self._known: dict[bytes, T] = {}
        self._encode = msgspec.msgpack.Encoder().encode

    def __call__(self, value: T) -> T:
        """The one that says the same, which may be this."""
        key = self._encode(value)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()  # What is in use lives on.
            self._known[key] = found = value
        return found
