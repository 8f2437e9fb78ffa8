"""One request and one answer, as every stage of the handler chain sees them; no HTTP library in sight."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kobune.controlplane.store.watchers import Frames, Watcher

# What a stream is sent as: pieces of any size, or the frames of a watch that go out together.
Part = bytes | Frames
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    uid: str = ""
    groups: Sequence[str] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))
MASTER = User("system:apiserver", groups=("system:masters", "system:authenticated"))


@dataclass(slots=True)
class Request:
    """What a client asks.

    `headers` has lower-case names (or compares without case). `query` has the first value of each parameter, and
    `repeated` all of them in order, for the few parameters that repeat. `user` is None until authentication has found
    it; in-process callers preset it. `certificate` is the peer's DER-encoded certificate, already verified against the
    client CA. `connection` is the front end's own object, for stages that take over the connection (exec, proxy).
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: User | None = None
    repeated: Sequence[tuple[str, str]] = ()
    certificate: bytes | None = None
    remote: str = ""
    connection: Any = None
    impersonator: User | None = None  # Who acts as `user`.
    access: Any = None  # What authorization judges, once it is known.
    audited: Any = None  # The audit log's entry, if there is one.
    flow_headers: Mapping[str, str] | None = None  # Which flow the request belongs to, for the answer.
    started: float = 0.0  # On the clock that never goes back.
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)  # For the audit log.


@dataclass(slots=True)
class Response:
    """What a client is told; an iterator body is streamed, and closed when the client goes."""

    status: int
    body: bytes | AsyncIterator[Part] = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    # The front end's own response, when a stage has taken over the connection, or the tunnel that is to take it over.
    taken: object = None
    # Of a watch: a front end may have its frames past the iterator, which serves all who do not know of that.
    watcher: Watcher | None = None
