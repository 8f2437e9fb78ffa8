"""Growing pauses between attempts, by key. Source: upstream client-go flowcontrol.Backoff."""

from collections.abc import Hashable
from dataclasses import dataclass

FIRST_SECONDS, MAX_SECONDS = 10.0, 300.0  # Source: upstream kubelet, MaxCrashLoopBackOff and imageBackOffPeriod.


@dataclass(slots=True)
class _Entry:
    pause: float
    since: float


class BackOff:
    """Pauses that double from `first` to `most` seconds; a key that was quiet for twice `most` starts anew.

    Moments are seconds on any clock, the same for all calls.
    """

    def __init__(self, first: float = FIRST_SECONDS, most: float = MAX_SECONDS) -> None:
        self._first, self._most = first, most
        self._entries: dict[Hashable, _Entry] = {}

    def until(self, key: Hashable, failed_at: float) -> float:
        """When the key may be tried again after a failure at `failed_at`; that moment itself when there is no pause."""
        entry = self._entries.get(key)
        if entry is None or self._is_old(entry, failed_at):
            return failed_at
        return failed_at + entry.pause

    def failed(self, key: Hashable, at: float) -> float:
        """Note an attempt that follows a failure: the key's next pause, which is returned."""
        entry = self._entries.get(key)
        if entry is None or self._is_old(entry, at):
            entry = self._entries[key] = _Entry(self._first, at)
        else:
            entry.pause = min(entry.pause * 2, self._most)
            entry.since = at
        return entry.pause

    def pause(self, key: Hashable) -> float:
        """The key's present pause in seconds; 0 when it has none."""
        entry = self._entries.get(key)
        return entry.pause if entry else 0.0

    def forget(self, key: Hashable) -> None:
        self._entries.pop(key, None)

    def _is_old(self, entry: _Entry, now: float) -> bool:
        return now - entry.since > 2 * self._most
