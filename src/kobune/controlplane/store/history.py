"""The recent changes of one kind, from which a watch that was interrupted goes on."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from kobune.api.errors import Gone
from kobune.controlplane.store.watchers import Event

LEAST = 100  # Events that are kept however old they are.
_revision = attrgetter("revision")


class History:
    """Keeps at most `events` changes; those older than `seconds`, or beyond `size` bytes, only as long as they are few.

    Args:
        start: the revision of the state at which the history begins.
        size: of the bodies that are kept for the history alone, because they have been replaced.
    """

    def __init__(self, start: int, events: int, seconds: float, size: int) -> None:
        self.newest = start
        self._start = start  # The changes after this revision are known.
        self._limit = max(events, 2 * LEAST)
        self._seconds = seconds
        self._largest = size
        self._bytes = 0
        self._events: list[Event] = []
        self._batches: list[tuple[float, int]] = []  # When, and the last revision of what came then.

    def add(self, events: Sequence[Event], now: float) -> None:
        """Changes newer than all others; `now` in seconds on a clock that never goes back."""
        self._events += events
        self._bytes += _size(events)
        self.newest = events[-1].revision
        if not self._batches or now >= self._batches[-1][0] + 1:
            self._batches.append((now, self.newest))
        if len(self._events) > self._limit:
            self._drop(self._limit // 2)
        while self._bytes > self._largest and len(self._events) > LEAST:
            self._drop((len(self._events) - LEAST + 1) // 2)
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
            self._bytes -= _size(self._events[:count])
            del self._events[:count]


def _size(events: Sequence[Event]) -> int:
    return sum([len(event.old.body) for event in events if event.old is not None])
