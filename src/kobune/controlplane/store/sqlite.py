"""The embedded engine: one file, no server. All waiting writes are committed together, in a thread of its own.

A write is checked and numbered at once, in the event loop, against an index of every key's revision in memory; it is seen
and acknowledged when its commit is on disk. Writes that need not be durable are seen as soon as nothing before them waits,
and go to disk with the next commit, or soon after.
"""

import asyncio
import queue
import sys
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from kobune.controlplane.store.contract import Change, Closed, Compacted, Conflict, Entry, Page
from kobune.controlplane.store.listeners import Listeners
from kobune.controlplane.store.sqlite_log import Row, SqliteLog

FLUSH_SECONDS = 0.05  # How long a write that need not be durable may wait for company.
RETRY_SECONDS = 0.5  # Between attempts to put such writes on a full disk.
MOST_UNFLUSHED = 10_000  # Such writes that may wait for a disk that is full; further ones fail like others.
COMPACTION_STEP = 100  # Changes swept at a time: about 2 ms, in which no write is committed.
COMPACTION_PAUSE_SECONDS = 0.005  # Between steps.
WATCH_BATCH = 1000  # Changes read at a time for a watch that begins in the past.

T = TypeVar("T")
# What to do in the writer's thread, and who is told the result or the error in the event loop.
_Job = tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]


class _Write:
    __slots__ = ("durable", "outcome", "row")

    def __init__(self, row: Row, durable: bool, outcome: "asyncio.Future[None] | None") -> None:
        self.row = row
        self.durable = durable
        self.outcome = outcome  # Done when the write can be seen, or is refused. None: it could be seen at once.


class SqliteStore:
    """Made by `open`, in the event loop that uses it."""

    def __init__(self, log: SqliteLog, index: dict[str, int], newest: int, compacted: int) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._listeners = Listeners()
        # What is on disk.
        self._index = index
        self._sorted: list[str] | None = None  # The index's keys, while it has not changed.
        self._flushed = newest
        self._compacted = compacted
        # What is on its way there, in order of revision: being committed, seen, and waiting.
        self._committing: list[_Write] = []
        self._unflushed: list[_Write] = []
        self._waiting: list[_Write] = []
        self._under_way: dict[str, Row] = {}  # The newest write of each key among them.
        self._numbered = newest
        self._visible = newest
        self._commit_due = False
        self._flush_timer: asyncio.TimerHandle | None = None
        self._outcome: asyncio.Future[BaseException | None] = self._loop.create_future()  # Of the next commit.
        self._held: Counter[int] = Counter()  # Revisions from which on somebody is reading.
        self._compaction = asyncio.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_jobs, name="store-writer", daemon=True)
        self._writer.start()
        self._reader = ThreadPoolExecutor(1, "store-reader")

    @classmethod
    async def open(cls, path: Path | str) -> "SqliteStore":
        """The store in the file at `path`, which is made if it is not there.

        Raises:
            InUse, Damaged, Unavailable: see SqliteLog.
        """

        def load() -> tuple[SqliteLog, dict[str, int], int, int]:
            log = SqliteLog(Path(path))
            try:
                return log, *log.index(), log.compacted()
            except BaseException:
                log.close()
                raise

        return cls(*await asyncio.to_thread(load))

    # Reading

    async def revision(self) -> int:
        self._check_open()
        return self._visible

    async def members(self) -> Sequence[str]:
        return ["the store is closed" if self._closed else ""]

    async def read(self, key: str) -> Entry | None:
        self._check_open()
        if (row := self._unflushed_rows().get(key)) is not None:
            return _entry(row)
        revision = self._index.get(key)
        if revision is None:
            return None
        with self._hold(self._flushed):
            values = await self._read(lambda: self._log.values((revision,)))
        return Entry(key, values[revision], revision)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._check_open()
        if revision and revision < self._compacted:
            raise Compacted(self._compacted)
        shown_at, on_disk = revision or self._visible, self._flushed
        unflushed = self._unflushed_rows(shown_at)
        with self._hold(min(shown_at, on_disk)):
            keys, index = self._sorted_keys(), self._index
            if shown_at < on_disk:
                index = index.copy()
                index.update(await self._read(lambda: self._log.replaced_since(shown_at, on_disk)))
                keys = sorted(key for key, at in index.items() if at)
            elif unflushed:
                keys = sorted(index.keys() | unflushed.keys())
            start = max(bisect_left(keys, prefix), bisect_right(keys, after))
            end = bisect_left(keys, True, start, key=lambda key: not key.startswith(prefix))
            shown = keys[start : min(end, start + limit)] if limit else keys[start:end]
            revisions = {key: index[key] for key in shown if key not in unflushed}
            values = await self._read(lambda: self._log.values(tuple(revisions.values()))) if revisions else {}
        # With the index's own keys, so that whoever keeps the entries shares them.
        page = [
            _entry(unflushed[key]) if key in unflushed else Entry(key, values[revisions[key]], revisions[key])
            for key in shown
        ]
        return Page(page, shown_at, start + len(shown) < end)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        self._check_open()
        if after < self._compacted:
            raise Compacted(self._compacted)
        on_disk = self._flushed
        unflushed = [_change(write.row) for write in self._seen_but_unflushed()]
        listener = self._listeners.listen(prefix, after=max(after, self._visible))
        try:
            with self._hold(after):
                while after < on_disk:
                    start = after
                    changes = await self._read(lambda: self._log.changes(start, on_disk, WATCH_BATCH))  # noqa: B023
                    if ours := [change for change in changes if change.key.startswith(prefix)]:
                        yield ours
                    after = changes[-1].revision if len(changes) == WATCH_BATCH else on_disk
            if ours := [change for change in unflushed if change.revision > after and change.key.startswith(prefix)]:
                yield ours
            async for batch in listener.batches():
                yield batch
        finally:
            self._listeners.stop(listener)

    # Writing

    async def write(
        self, key: str, value: bytes, *, expected: int | None, durable: bool = True, seconds: float = 0.0
    ) -> int:
        previous = await self._expect(key, expected)
        return await self._commit(Row(self._numbered + 1, previous, key, value), durable)

    async def delete(self, key: str, *, expected: int | None) -> int:
        previous = await self._expect(key, expected, absent=False)
        return await self._commit(Row(self._numbered + 1, previous, key, None), True)

    async def progress(self) -> None:
        self._check_open()

    async def compact(self, revision: int) -> None:
        await self._flush(self._visible)
        self._compacted = max(self._compacted, min(revision, self._flushed))
        async with self._compaction:
            self._check_open()
            swept = await self._read(self._log.compacted)
            while swept < self._compacted:
                upto = min(self._compacted, min(self._held, default=self._compacted))
                if upto > swept:
                    start = swept
                    swept = await self._job(lambda: self._log.compact(start, upto, COMPACTION_STEP))  # noqa: B023
                # Otherwise somebody is reading what would be deleted.
                await asyncio.sleep(COMPACTION_PAUSE_SECONDS)

    async def close(self) -> None:
        if self._closed:
            return
        try:
            await self._flush(self._numbered)
        finally:
            self._closed = True
            self._listeners.close()
            if self._flush_timer is not None:
                self._flush_timer.cancel()
            self._jobs.put(None)
            await asyncio.to_thread(self._writer.join)
            self._reader.shutdown()
            await asyncio.to_thread(self._log.close)

    def _check_open(self) -> None:
        if self._closed:
            raise Closed

    async def _expect(self, key: str, expected: int | None, *, absent: bool = True) -> int:
        """The key's revision, all writes under way included; raises Conflict when it is not the expected one.

        Args:
            absent: there may be nothing under the key.
        """
        while True:
            self._check_open()
            row = self._under_way.get(key)
            if row is None:
                current = self._index.get(key, 0)
            else:
                current = row.revision if row.value is not None else 0
            if (expected is None or expected == current) and (absent or current):
                return current
            if row is None or row.revision <= self._visible:
                raise Conflict(key, await self.read(key))
            # It conflicts with a write that nobody can see yet, and that may fail.
            await asyncio.shield(self._outcome)

    async def _commit(self, row: Row, durable: bool) -> int:
        self._numbered = row.revision
        self._under_way[row.key] = row
        if not durable and row.revision == self._visible + 1 and len(self._unflushed) < MOST_UNFLUSHED:
            # Nothing before it waits.
            write = _Write(row, durable, None)
            self._unflushed.append(write)
            self._show([write])
            self._flush_soon(FLUSH_SECONDS)
            await asyncio.sleep(0)  # Watches run before the writer goes on.
            return row.revision
        outcome: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(_Write(row, durable, outcome))
        self._commit_soon()
        await outcome
        return row.revision

    # Committing, in the event loop

    def _commit_soon(self) -> None:
        """Begin a commit once everything that is ready to run has added its writes."""
        if not self._commit_due and not self._committing:
            self._commit_due = True
            self._loop.call_soon(self._begin_commit)

    def _begin_commit(self) -> None:
        self._commit_due = False
        batch = self._unflushed + self._waiting
        if not batch or self._committing:
            return
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._committing, self._unflushed, self._waiting = batch, [], []
        rows = [write.row for write in batch]
        self._jobs.put((lambda: self._log.append(rows), self._end_commit))

    def _end_commit(self, _: None, error: BaseException | None) -> None:
        batch, self._committing = self._committing, []
        if error is None:
            self._flushed = batch[-1].row.revision
            self._apply(batch)
            self._show([write for write in batch if write.row.revision > self._visible])
        else:
            self._refuse(batch, error)
        self._show_what_need_not_wait()
        outcome, self._outcome = self._outcome, self._loop.create_future()
        outcome.set_result(error)
        if self._waiting:
            self._commit_soon()
        elif self._unflushed:
            self._flush_soon(RETRY_SECONDS if error else FLUSH_SECONDS)

    def _apply(self, batch: Sequence[_Write]) -> None:
        """Take over into the index what is on disk now."""
        index, under_way, same_keys = self._index, self._under_way, True
        for write in batch:
            revision, previous, key, value = write.row
            if value is None:
                same_keys = index.pop(key, None) is None and same_keys
            else:
                same_keys = same_keys and previous != 0
                index[key] = revision
            if under_way[key].revision == revision:
                del under_way[key]
        if not same_keys:
            self._sorted = None

    def _refuse(self, batch: Sequence[_Write], error: BaseException) -> None:
        """Undo the writes that nobody has seen; try the others again later."""
        unseen = [write for write in batch if write.row.revision > self._visible] + self._waiting
        self._unflushed = [write for write in batch if write.row.revision <= self._visible] + self._unflushed
        self._waiting = []
        self._numbered = self._visible
        self._under_way = {write.row.key: write.row for write in self._unflushed}
        for write in unseen:
            if write.outcome is not None and not write.outcome.done():
                write.outcome.set_exception(copy(error))

    def _show_what_need_not_wait(self) -> None:
        count = 0
        while count < len(self._waiting) and not self._waiting[count].durable:
            count += 1
        shown, self._waiting = self._waiting[:count], self._waiting[count:]
        if shown:
            self._unflushed += shown
            self._show(shown)

    def _show(self, writes: Sequence[_Write]) -> None:
        """Let watches and writers know, watches first."""
        if writes:
            self._visible = writes[-1].row.revision
            self._listeners.deliver([_change(write.row) for write in writes])
            for write in writes:
                if write.outcome is not None and not write.outcome.done():
                    write.outcome.set_result(None)

    def _flush_soon(self, seconds: float) -> None:
        if self._flush_timer is None and not self._committing:
            self._flush_timer = self._loop.call_later(seconds, self._begin_commit)

    async def _flush(self, revision: int) -> None:
        """Put everything up to `revision` on disk; raises why that cannot be."""
        self._check_open()
        while self._flushed < revision <= self._numbered:
            self._commit_soon()
            error = await asyncio.shield(self._outcome)
            if error is not None:
                raise copy(error)

    def _seen_but_unflushed(self) -> Iterator[_Write]:
        """In order of revision."""
        return (write for write in chain(self._committing, self._unflushed) if write.row.revision <= self._visible)

    def _unflushed_rows(self, upto: int = sys.maxsize) -> dict[str, Row]:
        """What readers must see that is not on disk, up to a revision. It holds no deletions; these are always durable."""
        return {write.row.key: write.row for write in self._seen_but_unflushed() if write.row.revision <= upto}

    def _sorted_keys(self) -> Sequence[str]:
        if self._sorted is None:
            self._sorted = sorted(self._index)
        return self._sorted

    # Threads

    async def _job(self, job: Callable[[], T]) -> T:
        """Do it in the writer's thread, between commits."""
        done: asyncio.Future[T] = self._loop.create_future()

        def tell(result: T, error: BaseException | None) -> None:
            if not done.done():
                done.set_result(result) if error is None else done.set_exception(error)

        self._jobs.put((job, tell))
        return await done

    def _write_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, tell = job
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:  # It belongs to whoever waits for the job.
                error = caught
            self._loop.call_soon_threadsafe(tell, result, error)
            try:
                self._log.checkpoint()
            except Exception:  # A full disk; there will be another checkpoint.
                continue

    async def _read(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._reader, work)

    @contextmanager
    def _hold(self, revision: int) -> Iterator[None]:
        """Nothing that a reader of the states from `revision` on needs is deleted meanwhile."""
        self._held[revision] += 1
        try:
            yield
        finally:
            self._held[revision] -= 1
            if not self._held[revision]:
                del self._held[revision]


def _entry(row: Row) -> Entry:
    assert row.value is not None
    return Entry(row.key, row.value, row.revision)


def _change(row: Row) -> Change:
    return Change(row.key, row.value, row.revision)
