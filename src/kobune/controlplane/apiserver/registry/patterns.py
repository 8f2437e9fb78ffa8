"""Creations like those before: a controller makes many pods from one template, alike but for their names.

What a creation came to is kept as a pattern: the stored bytes with gaps for the name, the uid, the times and the names that
admission made up. The second creation of a kind makes the pattern and the third, which goes the long way too, must fill it
to the byte; from the fourth on it is filled in, and nothing is read, defaulted, admitted and validated again. It holds as
long as nothing changes that the plugins' verdict rested on, and only where every plugin can tell what that is.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from kobune.api.errors import Json
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.negotiation import JSON
from kobune.controlplane.apiserver.options import WriteOptions
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.store.cache import Cache
from kobune.controlplane.store.encoding import encode
from kobune.controlplane.store.facts import Facts

MOST_PATTERNS = 128
LONGEST = 16 * 1024  # Bytes of a body worth keeping.
NAME, UID, TIME = 0, 1, 2  # Gaps; those from 3 on are the names that admission made up.
# What a pod's name bears on beside itself: the names of the claims made for it.
_NAMED_AFTER_POD = ("ephemeral", "resourceClaims")


class Likeness(NamedTuple):
    """What creations have in common that come to the same."""

    namespace: str
    user: str
    user_agent: str
    options: WriteOptions
    before: bytes  # The body up to the name's quotes
    after: bytes  # and from them on.


class Seen(NamedTuple):
    """A creation at its beginning."""

    likeness: Likeness
    name: str  # Empty: it is to be generated
    base: str  # from this.
    revision: int  # The state that the server had reached.


class Pattern:
    """What creations of one likeness come to.

    Attributes:
        proven: it has been compared with what another creation came to.
        annotations: for the audit log.
    """

    __slots__ = ("_bytes", "_facts", "_gaps", "_made_up", "_named", "_rests", "annotations", "name", "proven", "user")

    def __init__(self, call: Call, obj: Json, facts: Facts, named: Sequence[int], rests: Sequence[Cache]) -> None:
        """`named` are the places of the name among the facts' fields; `rests` are what the verdict rests on."""
        self.user, self.name = call.user, call.name
        self.annotations = dict(call.annotations)
        self.proven = False
        self._rests = tuple((cache, cache.changed_at) for cache in rests)
        self._made_up = tuple(prefix for prefix, _ in call.made_up)
        self._facts, self._named = facts, tuple(named)
        pieces = re.split(rb"<%b:(\d+)>" % obj["metadata"]["uid"].encode(), encode(_with_gaps(call, obj)))
        self._bytes, self._gaps = pieces, [(at, int(pieces[at])) for at in range(1, len(pieces), 2)]

    @property
    def holds(self) -> bool:
        """Whether nothing has changed that it rests on."""
        return all(cache.changed_at == revision for cache, revision in self._rests)

    @property
    def made_up(self) -> Sequence[str]:
        """The beginnings of the names that are to be made up."""
        return self._made_up

    def fill(self, name: str, uid: str, time: str, made_up: Sequence[str]) -> bytes:
        """The value to store."""
        values = [value.encode() for value in (name, uid, time, *made_up)]
        pieces = self._bytes.copy()
        for at, gap in self._gaps:
            pieces[at] = values[gap]
        return b"".join(pieces)

    def facts(self, name: str) -> Facts:
        if not self._named:
            return self._facts
        fields = list(self._facts.fields)
        for place in self._named:
            fields[place] = name
        return Facts(self._facts.labels, tuple(fields))

    def agrees(self, call: Call, obj: Json, facts: Facts) -> bool:
        """Whether it says of another creation what that came to."""
        meta = obj["metadata"]
        filled = self.fill(call.name, meta["uid"], meta["creationTimestamp"], [name for _, name in call.made_up])
        return (
            call.name != self.name
            and self.holds
            and self.annotations == call.annotations
            and self._made_up == tuple(prefix for prefix, _ in call.made_up)
            and filled == encode(obj)
            and self.facts(call.name) == facts
        )


class _Named(msgspec.Struct):
    name: str = ""
    generateName: str = ""


class _Outline(msgspec.Struct):
    metadata: _Named = msgspec.field(default_factory=_Named)


class Patterns:
    def __init__(self) -> None:
        self._once: OrderedDict[int, None] = OrderedDict()  # Hashes of what came once.
        self._known: OrderedDict[Likeness, Pattern] = OrderedDict()
        self._outline = msgspec.json.Decoder(_Outline)

    def all(self) -> Sequence[Pattern]:
        """Those that are kept, proven or not."""
        return tuple(self._known.values())

    def see(self, call: Call, body: bytes, content_type: str, revision: int) -> Seen | None:
        """A creation that others may be like; None where that is not worth knowing."""
        kind = call.kind
        if kind.name != "Pod" or kind.group or content_type != JSON or len(body) > LONGEST or call.options.dry_run:
            return None
        try:
            named = self._outline.decode(body).metadata
        except msgspec.DecodeError:
            return None
        name, before, after = named.name, body, b""
        if name:
            # If that is another string than the name, the name is among the rest, and likeness includes it.
            quoted = b'"%b"' % name.encode()
            before, found, after = body.partition(quoted)
            if not found or quoted in after:
                return None
        elif not named.generateName:
            return None
        likeness = Likeness(call.namespace, call.user.name, call.user_agent, call.options, before, after)
        return Seen(likeness, name, named.generateName, revision)

    def find(self, seen: Seen, user: User) -> Pattern | None:
        """The pattern that a creation can follow."""
        pattern = self._known.get(seen.likeness)
        if pattern is None or not pattern.proven or pattern.user != user:
            return None
        if not pattern.holds:
            del self._known[seen.likeness]
            return None
        self._known.move_to_end(seen.likeness)
        return pattern

    def wants(self, seen: Seen) -> bool:
        """Whether there is something to learn from a creation that went the long way."""
        pattern, mark = self._known.get(seen.likeness), hash(seen.likeness)
        if pattern is not None or mark in self._once:
            return pattern is None or not (pattern.proven and pattern.holds)
        self._once[mark] = None
        if len(self._once) > MOST_PATTERNS:
            self._once.popitem(last=False)
        return False

    def learn(self, seen: Seen, call: Call, obj: Json, cache: Cache, rests: Sequence[Cache]) -> None:
        """Note what a creation came to that went the long way.

        Args:
            cache: of the object's kind.
            rests: what the verdict of the plugins rested on, beside the request.
        """
        if call.warnings or any(other.changed_at > seen.revision for other in rests):
            return
        likeness, facts = seen.likeness, cache.facts(obj)
        pattern = self._known.get(likeness)
        if pattern is not None:
            if not pattern.proven and pattern.user == call.user:
                pattern.proven = pattern.agrees(call, obj, facts)
            if not pattern.proven or not pattern.holds:
                del self._known[likeness]
            return
        self._once.pop(hash(likeness), None)
        if _is_named_after(obj["spec"]) or b'"managedFields"' in likeness.before + likeness.after:
            return
        named = [place for place, field in enumerate(cache.selectable) if field == "metadata.name"]
        self._known[likeness] = Pattern(call, obj, facts, named, rests)
        if len(self._known) > MOST_PATTERNS:
            self._known.popitem(last=False)


def _is_named_after(spec: Json) -> bool:
    """Whether a pod's name bears on its spec."""
    return any(field in part for part in (spec, *spec.get("volumes", ())) for field in _NAMED_AFTER_POD)


def _with_gaps(call: Call, obj: Json) -> Json:
    """The object with marks where each has its own."""
    meta = obj["metadata"]
    mark = f"<{meta['uid']}:%d>"
    own: Json = {"name": mark % NAME, "uid": mark % UID, "creationTimestamp": mark % TIME}
    now = format_time(call.now)
    account = [
        {**entry, "time": mark % TIME} if entry.get("time") == now else entry for entry in meta.get("managedFields", ())
    ]
    if account:
        own["managedFields"] = account
    made_up = {name: mark % (TIME + 1 + place) for place, (_, name) in enumerate(call.made_up)}
    return {**obj, "metadata": {**meta, **own}, "spec": _replaced(obj["spec"], made_up)}


def _replaced(value: Any, names: Mapping[str, str]) -> Any:
    """The value with other strings in the place of some."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {key: _replaced(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, names) for one in value]
    return value
