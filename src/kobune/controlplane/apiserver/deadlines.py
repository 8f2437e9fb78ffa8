"""Ends requests that take too long.

All have the same time, so the one that began first is the first to end, and one timer does for all of them: a timer each
costs a twentieth of a write.
"""

import asyncio
from types import TracebackType

from kobune.api.errors import Timeout

TOO_LONG = "Timeout: request did not complete within the allotted timeout"


class Deadlines:
    """Gives every request `seconds`: what is done inside `with deadlines:` ends in time, in the task that it began in.

    Raises:
        Timeout: on leaving, in place of the cancellation by which it was ended.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[asyncio.Task[object], float] = {}  # When, on the loop's clock; the oldest first.
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        self._begun[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._sweep, loop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._begun.pop(task, None) is None and task in self._expired:
            self._expired.remove(task)
            # Somebody else may have cancelled it as well, and must be obeyed.
            if task.uncancel() == 0 and kind is asyncio.CancelledError:
                raise Timeout(TOO_LONG) from error

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        last = loop.time() - self._seconds
        for task, begun in tuple(self._begun.items()):
            if begun > last:
                self._timer = loop.call_at(begun + self._seconds, self._sweep, loop)
                return
            del self._begun[task]
            self._expired.add(task)
            task.cancel()
