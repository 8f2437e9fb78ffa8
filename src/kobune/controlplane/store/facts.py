"""The little of an object that selection needs: its labels and its kind's selectable fields, read without the rest."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import chain
from sys import intern
from typing import Any, NamedTuple, TypedDict

import msgspec
import orjson

from kobune.api.errors import Json
from kobune.api.sharing import NONE, shared_map

# What an absent field that is no string counts as. Source: upstream's SelectableFields of each kind.
ABSENT = {"spec.hostNetwork": "false", "spec.unschedulable": "false", "status.replicas": "0", "status.successful": "0"}
# Selectable names that are not the path of a string; the first field that is set counts.
PATHS = {
    "source": ("source.component", "reportingComponent"),
    "spec.host": ("spec.nodeName",),  # Its name in the first versions of the API.
    "status.podIPs": ("",),  # Upstream takes the name and compares it with nothing.
}


class Facts(NamedTuple):
    labels: Mapping[str, str]
    fields: tuple[str, ...]  # In the order of the kind's `selectable`.


class FactReader:
    """Reads the facts of one kind's objects. Equal label sets and equal strings are shared between objects."""

    def __init__(self, selectable: Sequence[str]) -> None:
        paths = [tuple(tuple(path.split(".")) for path in PATHS.get(name, (name,))) for name in selectable]
        self._fields = tuple(
            (
                alternatives[0][0],
                alternatives[0][-1],
                len(alternatives) == 1 and len(alternatives[0]) == 2,
                alternatives,
                absent,
            )
            for alternatives, absent in zip(paths, (ABSENT.get(name, "") for name in selectable), strict=True)
        )
        tree: Json = {"metadata": {"labels": {}}}
        for path in chain.from_iterable(paths):
            reduce(lambda node, name: node.setdefault(name, {}), path, tree)
        self._decoder = msgspec.json.Decoder(_part(tree))

    def read(self, obj: Mapping[str, Any], labels: Mapping[str, str] = NONE) -> Facts:
        """The facts of a decoded object; `labels` are those that it had before, which few changes touch."""
        fields = []
        for first, last, is_simple, paths, absent in self._fields:
            # Nearly all are strings two levels deep, and this is done for every write.
            part = obj.get(first) if is_simple else None
            value = part.get(last, "") if type(part) is dict else None
            fields.append(intern(value) or absent if type(value) is str else _field(obj, paths, absent))
        given = obj["metadata"].get("labels") or NONE
        return Facts(labels if given == labels else shared_map(given), tuple(fields))

    def decode(self, value: bytes) -> Facts:
        """The facts of an encoded object."""
        try:
            return self.read(self._decoder.decode(value))
        except msgspec.ValidationError:
            # Where a kind has an object, a custom resource without a schema may have anything.
            return self.read(orjson.loads(value))


def fields_after(selectable: Sequence[str], fields: tuple[str, ...], changes: Mapping[str, str]) -> tuple[str, ...]:
    """An object's fields after what stands at these paths has changed, and nothing else."""
    return tuple(
        changes.get(PATHS[name][0] if name in PATHS else name, known)
        for name, known in zip(selectable, fields, strict=True)
    )


def _part(tree: Json) -> Any:
    """The type of an object of which only the members in `tree` are decoded; a leaf may be anything."""
    if not tree:
        return Any
    members: dict[str, Any] = {name: _part(node) | None for name, node in tree.items()}
    return TypedDict("Part", members, total=False)  # type: ignore[operator]


def _field(obj: Mapping[str, Any], paths: tuple[tuple[str, ...], ...], absent: str) -> str:
    for path in paths:
        value: Any = obj
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is True:
            return "true"
        if value is False:
            return "false"
        if value is not None and value != "":
            return intern(value if type(value) is str else str(value))
    return absent
