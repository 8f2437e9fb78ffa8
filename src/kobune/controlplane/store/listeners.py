"""Hands committed changes to the watches under way in this process, in batches."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from kobune.controlplane.store.contract import Change, Closed


class Listeners:
    """The watches of one store. `deliver` may be called from the store's event loop alone."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()
        self._closed = False

    def listen(self, prefix: str, *, after: int) -> "_Listener":
        """From now on changes under `prefix` newer than `after` are collected; iterate over the answer, then `stop` it."""
        if self._closed:
            raise Closed
        listener = _Listener(prefix, after)
        self._listeners.add(listener)
        return listener

    def stop(self, listener: "_Listener") -> None:
        self._listeners.discard(listener)

    def deliver(self, changes: Sequence[Change]) -> None:
        for listener in self._listeners:
            listener.add(changes)

    def close(self) -> None:
        self._closed = True
        for listener in self._listeners:
            listener.fail(Closed())
        self._listeners.clear()


class _Listener:
    def __init__(self, prefix: str, after: int) -> None:
        self._prefix = prefix
        self._after = after  # May lie in the future.
        self._pending: list[Change] = []
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    def add(self, changes: Sequence[Change]) -> None:
        prefix, after = self._prefix, self._after
        self._pending += [change for change in changes if change.key.startswith(prefix) and change.revision > after]
        if self._pending:
            self._wake()

    def fail(self, failure: Exception) -> None:
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def batches(self) -> AsyncIterator[Sequence[Change]]:
        """What was collected since the last batch; never an empty one."""
        loop = asyncio.get_running_loop()
        while True:
            if self._pending:
                batch, self._pending = self._pending, []
                yield batch
            elif self._failure is not None:
                raise self._failure
            else:
                self._waiter = loop.create_future()
                await self._waiter
