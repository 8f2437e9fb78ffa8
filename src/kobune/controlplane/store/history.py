"""The recent changes of one kind, from which a watch that was interrupted goes on."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from kobune.api.errors import Gone
from kobune.controlplane.store.watchers import Event

LEAST = 100  # Events that are kept however old they are.
_revision = attrgetter("revision")


class History:
    """Keeps at least the newest `events`/2 and at most `events` changes, and of those older than `seconds` only a few.

    Args:
        start: the revision of the state at which the history begins.
    """

    def __init__(self, start: int, events: int, seconds: float) -> None:
        self.newest = start
        self._start = start  # The changes after this revision are known.
        self._limit = max(events, 2 * LEAST)
        self._seconds = seconds
        self._events: list[Event] = []
        self._batches: list[tuple[float, int]] = []  # When, and the last revision of what came then.

    def add(self, events: Sequence[Event], now: float) -> None:
        """Changes newer than all others; `now` in seconds on a clock that never goes back."""
        self._events += events
        self.newest = events[-1].revision
        if not self._batches or now >= self._batches[-1][0] + 1:
            self._batches.append((now, self.newest))
        if len(self._events) > self._limit:
            self._drop(self._limit // 2)
        while self._batches and self._batches[0][0] < now - self._seconds:
            _, revision = self._batches.pop(0)
            self._drop(min(bisect_right(self._events, revision, key=_revision), len(self._events) - LEAST))

    def after(self, revision: int) -> Sequence[Event]:
        """The changes after `revision`, oldest first. Raises Gone when some of them have been forgotten."""
        if revision < self._start:
            raise Gone(f"too old resource version: {revision} ({self._start})")
        return self._events[bisect_right(self._events, revision, key=_revision) :]

    def _drop(self, count: int) -> None:
        if count > 0:
            self._start = self._events[count - 1].revision
            del self._events[:count]
