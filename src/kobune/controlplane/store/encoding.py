"""Objects as bytes: encoded once, when written; the commit fills in the resourceVersion.

A stored value is JSON that begins with kind, apiVersion and metadata and has no resourceVersion. An object's body, as readers
get it, is that value with `"resourceVersion":"N"` as the first member of metadata.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
import orjson

from kobune.api.errors import Json

_METADATA = b'"metadata":{'
_BEFORE_REVISION = b'"metadata":{"resourceVersion":"'
INITIAL_EVENTS_END = "k8s.io/initial-events-end"  # The annotation that says: the initial events are complete.


def encode(obj: Json) -> bytes:
    """The value to store for an object. `obj` needs a kind, an apiVersion and a name; it is not changed."""
    ordered = {"kind": "", "apiVersion": "", "metadata": {}, **obj}
    metadata = ordered["metadata"]
    if "resourceVersion" in metadata:
        metadata = {name: value for name, value in metadata.items() if name != "resourceVersion"}
    account = metadata.get("managedFields")
    if account:
        # Upstream writes the sets of fields sorted, and clients compare them as text.
        entries = [
            {**entry, "fieldsV1": orjson.Fragment(orjson.dumps(entry["fieldsV1"], option=orjson.OPT_SORT_KEYS))}
            if "fieldsV1" in entry
            else entry
            for entry in account
        ]
        metadata = {**metadata, "managedFields": entries}
    ordered["metadata"] = metadata
    # Copied: the encoder's own bytes keep a buffer of several times their length, and some of these live long.
    return bytes(memoryview(orjson.dumps(ordered)))


def decode(body: bytes) -> Json:
    """The object of a body or a stored value."""
    return cast(Json, orjson.loads(body))


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of a JSON object in their order, each as text: who changes few of them need not decode the others."""
    return _members.decode(text)


def member(parts: Mapping[str, msgspec.Raw], name: str) -> Any:
    """One member decoded; None when it is not there."""
    text = parts.get(name)
    return None if text is None else msgspec.json.decode(text)


def set_member(parts: dict[str, msgspec.Raw], name: str, value: Any) -> None:
    parts[name] = msgspec.Raw(orjson.dumps(value))


def joined(parts: Mapping[str, msgspec.Raw]) -> bytes:
    """The object with these members."""
    return msgspec.json.encode(parts)


def with_revision(value: bytes, revision: int) -> bytes:
    """The body of a stored value."""
    # Kinds and API versions hold no quotes, so the first match is the member.
    at = value.index(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


def at_revision(body: bytes, revision: int) -> bytes:
    """A body with its resourceVersion replaced."""
    start = body.index(_BEFORE_REVISION) + len(_BEFORE_REVISION)
    return b"%b%d%b" % (body[:start], revision, body[body.index(b'"', start) :])


def frame(event: bytes, body: bytes) -> bytes:
    """One line of a watch: `event` is ADDED, MODIFIED or DELETED."""
    return b'{"type":"%b","object":%b}\n' % (event, body)


def bookmark(kind: str, api_version: str, revision: int, initial_events_end: bool) -> bytes:
    """The line of a watch that says: everything up to `revision` has been sent."""
    metadata: Json = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return frame(b"BOOKMARK", orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata}))
