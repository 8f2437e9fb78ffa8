"""What a store needs now and then: old history compacted, and objects removed that are kept for a time only."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable

from kobune.api.clock import Clock
from kobune.controlplane.store.cache import Cache
from kobune.controlplane.store.contract import Conflict, Unavailable
from kobune.controlplane.store.feed import Feed

log = logging.getLogger(__name__)

ROUND_SECONDS = 60.0
HISTORY_SECONDS = 300.0  # Source: upstream kube-apiserver, --etcd-compaction-interval.
EVENT_SECONDS = 3600.0  # Source: upstream kube-apiserver, --event-ttl.


async def keep_up(
    feed: Feed,
    clock: Clock,
    open_events: Callable[[], Awaitable[Cache]],
    *,
    history_seconds: float = HISTORY_SECONDS,
    event_seconds: float = EVENT_SECONDS,
) -> None:
    """Until cancelled: compact history older than `history_seconds`, remove Events not written for `event_seconds`.

    How old a revision is is known from when this has seen it, so after a restart both begin to count anew. Several
    servers on one store may do it at once. An engine that ends entries by itself has removed most Events before; those
    that came from a snapshot remain for this.
    """
    seen: deque[tuple[float, int]] = deque()  # When a revision was the newest, oldest first.
    compacted = expired = 0
    while True:
        now = clock.monotonic()
        seen.append((now, feed.revision))
        try:
            history = max((revision for at, revision in seen if at <= now - history_seconds), default=0)
            if history > compacted:
                await feed.store.compact(history)
                compacted = history
            old = max((revision for at, revision in seen if at <= now - event_seconds), default=0)
            if old > expired:
                await _remove(await open_events(), old)
                expired = old
        except Unavailable as error:
            log.warning("Upkeep of the store has to wait: %s", error)
        while seen[0][0] < now - 2 * max(history_seconds, event_seconds):
            seen.popleft()
        await clock.sleep(ROUND_SECONDS)


async def _remove(cache: Cache, revision: int) -> None:
    """Delete everything last written at `revision` or before."""
    for item in cache.list():
        if item.revision <= revision:
            try:
                await cache.delete(item.namespace, item.name, expected=item.revision)
            except Conflict:
                continue  # Written again, or removed by another server.
