"""When to try again what has failed, by name, for one pod."""

from collections.abc import Sequence

from kobune.api.clock import Clock


class Retries:
    """Things are free to be tried until they fail."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def may_try(self, what: str) -> bool:
        return self._clock.monotonic() >= self._not_before.get(what, 0.0)

    def failed(self, what: str, pauses: Sequence[float]) -> None:
        """It failed once more; `pauses` are in seconds, by the number of failures in a row, the last one for all further."""
        failures = self._failures.get(what, 0)
        self._failures[what] = failures + 1
        self.wait(what, pauses[min(failures, len(pauses) - 1)])

    def wait(self, what: str, seconds: float) -> None:
        """It is not to be tried for so long."""
        self._not_before[what] = self._clock.monotonic() + seconds

    def succeeded(self, what: str) -> None:
        self._failures.pop(what, None)
        self._not_before.pop(what, None)

    def pauses(self) -> list[float]:
        """Seconds until each thing that must wait may be tried."""
        now = self._clock.monotonic()
        return [left for moment in self._not_before.values() if (left := moment - now) > 0]
