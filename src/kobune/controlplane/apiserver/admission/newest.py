"""Of several classes that are marked as the default, the one that counts."""

from collections.abc import Iterable

from kobune.api.errors import Json


def newest(classes: Iterable[Json]) -> Json | None:
    """The newest; of those of the same age the first by name."""
    return max(classes, key=lambda one: (one["metadata"]["creationTimestamp"], _reversed(one)), default=None)


def _reversed(one: Json) -> tuple[int, ...]:
    return tuple(-ord(char) for char in one["metadata"]["name"])
