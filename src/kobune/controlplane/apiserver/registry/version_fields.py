"""Field selectors that name fields of another version than the stored one: judged after conversion.

The caches know the fields of the stored version alone, and a converter may make of them what it likes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.custom import field_text
from kobune.api.errors import BadRequest, Json
from kobune.api.field_selectors import FieldRequirement, parse_fields
from kobune.controlplane.apiserver.options import ListOptions

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

OF_EVERY_KIND = ("metadata.name", "metadata.namespace")


def split(registry: "Registry", kind: Kind, options: ListOptions) -> "tuple[ListOptions, VersionFields | None]":
    """The options that the stored objects can be chosen by, and what is left to be judged in the version of `kind`.

    A list whose selection is judged late comes in one page: only then is it known what is on it.

    Raises:
        BadRequest: a field that cannot be selected.
    """
    if not kind.custom or not options.fields or registry.stored(kind).version == kind.version:
        return options, None
    asked = parse_fields(options.fields).requirements
    late = [one for one in asked if one.field not in OF_EVERY_KIND]
    for one in late:
        if one.field not in kind.selectable:
            raise unknown_field(kind, one.field)
    if not late:
        return options, None
    kept = ",".join(str(one) for one in asked if one.field in OF_EVERY_KIND)
    return replace(options, fields=kept, limit=0), VersionFields(registry, kind, late)


def unknown_field(kind: Kind, field: str) -> BadRequest:
    """What to say of a field that cannot be selected."""
    if kind.selectable:
        return BadRequest(f"field label not supported: {field}")
    return BadRequest(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')


class VersionFields:
    """Judges stored bodies that are prepared for conversion, and remembers what one watch has been shown."""

    def __init__(self, registry: "Registry", kind: Kind, requirements: Sequence[FieldRequirement]) -> None:
        self._registry = registry
        self._kind = kind
        self._requirements = requirements
        self._shown: dict[str, bool] = {}  # By uid.

    def choose(self, body: bytes) -> bool:
        """Whether the object is selected."""
        return self._matches(self._read(body))

    def event(self, event: bytes, body: bytes) -> bytes | None:
        """What becomes of an event for those who see the selection alone: objects come and go as they begin and end to match."""
        obj = self._read(body)
        uid, matches = obj["metadata"]["uid"], self._matches(obj)
        shown = self._shown.get(uid)
        if event == b"DELETED":
            self._shown.pop(uid, None)
            return event if (matches if shown is None else shown) else None
        self._shown[uid] = matches
        if event == b"ADDED" or shown is False:
            return b"ADDED" if matches else None
        # A watch that goes on from a revision does not know what was shown before; an end too many does no harm.
        return b"MODIFIED" if matches else b"DELETED"

    def _read(self, body: bytes) -> Json:
        obj: Json = orjson.loads(self._registry.body_in(self._kind, body))
        return obj

    def _matches(self, obj: Json) -> bool:
        return all((field_text(one.field, obj) == one.value) is (one.operator == "=") for one in self._requirements)
