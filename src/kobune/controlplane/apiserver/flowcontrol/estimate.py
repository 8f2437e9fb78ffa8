"""How much of the server a request takes: seats while it is answered, and for a while after a write that many watch.

Source: upstream apiserver, pkg/util/flowcontrol/request.
"""

from collections.abc import Mapping
from typing import NamedTuple

from kobune.controlplane.apiserver.options import flag
from kobune.controlplane.store.cache import Cache

BYTES_PER_SEAT = 100_000
STREAMED_BYTES = 1_000_000  # A list is sent in pieces: so much of it is held at once, however long it is.
WATCHES_PER_SEAT, MOST_WRITE_SEATS = 10, 10
EVENT_SECONDS = 0.005  # Of a seat, for the watchers that share it.
WRITES = frozenset(("create", "update", "patch", "delete"))


class Aftermath(NamedTuple):
    """Seats that a write keeps after its answer, and how long."""

    seats: int = 0
    seconds: float = 0.0


NOTHING_AFTER = Aftermath()


def seats_of(verb: str, query: Mapping[str, str], cache: Cache | None) -> int:
    """The seats of a request: lists, and watches that begin with a list, take more than one."""
    if cache is None or verb not in ("list", "watch"):
        return 1
    if verb == "watch" and not flag(query, "sendInitialEvents") and query.get("resourceVersion", "") not in ("", "0"):
        return 1
    objects, limit = len(cache), query.get("limit", "")
    if limit.isdecimal() and 0 < int(limit) < objects:
        objects = int(limit)
    if "metadata.name=" in query.get("fieldSelector", ""):
        objects = 1
    return list_seats(objects, cache.typical_bytes())


def list_seats(objects: int, bytes_each: int) -> int:
    """How many seats a list of so many objects takes."""
    return max(1, -(-min(objects * bytes_each, STREAMED_BYTES) // BYTES_PER_SEAT))


def aftermath(subresource: str, watchers: int) -> Aftermath:
    """What telling the watchers of a write takes."""
    if watchers < WATCHES_PER_SEAT or subresource == "token":
        return NOTHING_AFTER
    wanted = -(-watchers // WATCHES_PER_SEAT)
    seats = min(wanted, MOST_WRITE_SEATS)
    return Aftermath(seats, wanted * EVENT_SECONDS / seats)
