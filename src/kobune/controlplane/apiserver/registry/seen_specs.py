"""What reading a spec came to, kept for when the same bytes come again: controllers make many pods from one template.

A spec that comes a second time is remembered; from the third time on it is neither checked against its schema nor
defaulted, accounted and, if admission leaves it alone, validated again.
"""

from collections import OrderedDict
from typing import Any

import msgspec
import orjson

from kobune.api.apply.fieldset import Fields
from kobune.api.apply.shapes import rule_of_object
from kobune.api.apply.values import written
from kobune.api.catalogue import Kind
from kobune.api.depth import check_depth
from kobune.api.duplicates import duplicate_fields
from kobune.api.errors import ApiError, Json
from kobune.api.schema import Schema
from kobune.controlplane.apiserver.negotiation import JSON
from kobune.controlplane.apiserver.registry.decoding import checked_object

MOST_SPECS = 128
LONGEST = 16 * 1024  # Bytes of a spec worth keeping: decoded it takes ten times as many.


class SeenSpec:
    """One spec of a pod.

    Attributes:
        text: the spec as JSON, checked and defaulted.
        fields: what its sender manages.
        sound: what admission last made of it that was found without a fault, whatever pod has it.
    """

    __slots__ = ("fields", "sound", "text")

    def __init__(self, spec: Json, schema: Schema) -> None:
        self.text = orjson.dumps(spec)
        self.fields: Fields = written({"spec": spec}, rule_of_object(schema))
        self.sound: Json | None = None

    def note_sound(self, spec: Json) -> None:
        """`spec`, as admission left it, has no fault; nobody changes it any more."""
        # Names and annotations of pods bear on what these may be.
        if "volumes" not in spec and "resourceClaims" not in spec:
            self.sound = spec


class _Outline(msgspec.Struct):
    spec: msgspec.Raw = msgspec.Raw(b"")


class SeenSpecs:
    def __init__(self) -> None:
        self._once: OrderedDict[int, None] = OrderedDict()  # Hashes of what came once.
        self._known: OrderedDict[tuple[str, bytes], SeenSpec] = OrderedDict()
        self._outline = msgspec.json.Decoder(_Outline)

    @property
    def count(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def keeps(self, kind: Kind, content_type: str) -> bool:
        """Whether such bodies may hold what was seen before."""
        return kind.name == "Pod" and not kind.group and content_type == JSON

    def spec_in(self, body: bytes) -> bytes:
        """The spec in the body of a pod, as it was sent; empty when that is not worth knowing."""
        try:
            spec = bytes(self._outline.decode(body).spec)
        except msgspec.DecodeError:
            return b""
        return spec if 2 < len(spec) <= LONGEST else b""

    def recall(
        self, body: bytes, spec: bytes, kind: Kind, schema: Schema, validation: str
    ) -> tuple[Json, SeenSpec] | None:
        """The pod in a body with this spec, checked and defaulted; None when that is not known, or anything is wrong."""
        seen = self._known.get((validation, spec))
        if seen is None:
            return None
        self._known.move_to_end((validation, spec))
        if body.endswith(b"%b}" % spec):  # As nearly always.
            head, tail = body[: -len(spec) - 1], b"}"
        else:
            head, _, tail = body.rpartition(spec)
        rest = b"%b{}%b" % (head, tail)
        try:
            document: Any = orjson.loads(rest)
            check_depth(document, rest)
            if not isinstance(document, dict) or document.get("spec") != {} or duplicate_fields(rest, document):
                return None
            unknown: list[str] = []
            pod = checked_object(document, kind, schema, unknown=unknown)
        except (orjson.JSONDecodeError, ApiError):
            return None  # It is read as a whole, and refused in the right words.
        if unknown or pod.get("status"):
            return None
        pod["spec"] = orjson.loads(seen.text)
        return pod, seen

    def remember(self, spec: bytes, pod: Json, schema: Schema, validation: str) -> None:
        """Note a spec that was read without a complaint; `pod` has it checked and defaulted."""
        mark = hash((validation, spec))
        if mark not in self._once:
            self._once[mark] = None
            if len(self._once) > MOST_SPECS:
                self._once.popitem(last=False)
            return
        del self._once[mark]
        self._known[validation, spec] = SeenSpec(pod["spec"], schema)
        if len(self._known) > MOST_SPECS:
            self._known.popitem(last=False)
