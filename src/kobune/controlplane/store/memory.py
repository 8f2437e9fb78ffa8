"""The engine for tests and throwaway clusters: everything in dicts, nothing on disk."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from kobune.controlplane.store.contract import Change, Closed, Compacted, Conflict, Entry, Page
from kobune.controlplane.store.listeners import Listeners

HISTORY = 10_000  # Changes.


class MemoryStore:
    """A store that lasts as long as the process.

    Args:
        history: at least so many of the newest changes are kept without being asked; `compact` may leave fewer.
    """

    def __init__(self, *, history: int = HISTORY) -> None:
        self._entries: dict[str, Entry] = {}
        self._oldest: dict[str, Entry] = {}  # The entries at the compacted revision.
        self._compacted = 0
        self._log: list[Change] = []  # Every change since; the first one is at revision `_compacted + 1`.
        self._history = history
        self._listeners = Listeners()
        self._closed = False

    async def revision(self) -> int:
        self._check_open()
        return self._revision

    async def members(self) -> Sequence[str]:
        return ["the store is closed" if self._closed else ""]

    async def read(self, key: str) -> Entry | None:
        self._check_open()
        return self._entries.get(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._check_open()
        entries = self._entries if revision == 0 else self._at(revision)
        keys = sorted(key for key in entries if key.startswith(prefix) and key > after)
        shown = keys[:limit] if limit else keys
        return Page([entries[key] for key in shown], revision or self._revision, len(shown) < len(keys))

    async def write(
        self, key: str, value: bytes, *, expected: int | None, durable: bool = True, seconds: float = 0.0
    ) -> int:
        self._check_expected(key, expected)
        revision = self._revision + 1
        self._entries[key] = Entry(key, value, revision)
        await self._commit(Change(key, value, revision))
        return revision

    async def delete(self, key: str, *, expected: int | None) -> int:
        self._check_expected(key, expected)
        if key not in self._entries:
            raise Conflict(key, None)
        revision = self._revision + 1
        del self._entries[key]
        await self._commit(Change(key, None, revision))
        return revision

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        self._check_open()
        if after < self._compacted:
            raise Compacted(self._compacted)
        listener = self._listeners.listen(prefix, after=after)
        try:
            missed = [change for change in self._log[after - self._compacted :] if change.key.startswith(prefix)]
            if missed:
                yield missed
            async for batch in listener.batches():
                yield batch
        finally:
            self._listeners.stop(listener)

    async def progress(self) -> None:
        self._check_open()

    async def compact(self, revision: int) -> None:
        self._check_open()
        self._forget(min(revision, self._revision))

    async def close(self) -> None:
        self._closed = True
        self._listeners.close()

    @property
    def _revision(self) -> int:
        return self._compacted + len(self._log)

    def _check_open(self) -> None:
        if self._closed:
            raise Closed

    def _check_expected(self, key: str, expected: int | None) -> None:
        self._check_open()
        current = self._entries.get(key)
        if expected is not None and expected != (current.revision if current else 0):
            raise Conflict(key, current)

    async def _commit(self, change: Change) -> None:
        self._log.append(change)
        if len(self._log) > 2 * self._history:
            self._forget(change.revision - self._history)
        self._listeners.deliver((change,))
        # Watches run before the writer goes on.
        await asyncio.sleep(0)

    def _at(self, revision: int) -> dict[str, Entry]:
        """The entries as they were at `revision`."""
        if revision < self._compacted:
            raise Compacted(self._compacted)
        entries = self._oldest.copy()
        _apply(entries, self._log[: revision - self._compacted])
        return entries

    def _forget(self, revision: int) -> None:
        count = revision - self._compacted
        if count > 0:
            _apply(self._oldest, self._log[:count])
            del self._log[:count]
            self._compacted = revision


def _apply(entries: dict[str, Entry], changes: Iterable[Change]) -> None:
    for key, value, revision in changes:
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = Entry(key, value, revision)
