"""A disk that takes long for each commit: who need not wait for it does not, and who must waits together."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from kobune.controlplane.store.contract import Entry
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.controlplane.store.sqlite_log import Row, SqliteLog

COMMIT_SECONDS = 0.3


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the commits; each takes as long as on a disk that is busy or going bad."""
    sizes: list[int] = []
    append = SqliteLog.append

    def slowly(log: SqliteLog, rows: Sequence[Row]) -> None:
        time.sleep(COMMIT_SECONDS)
        sizes.append(len(rows))
        append(log, rows)

    monkeypatch.setattr(SqliteLog, "append", slowly)
    return sizes


async def test_reads_do_not_wait_for_the_disk(tmp_path: Path, commits: list[int]) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await store.write("/a", b"1", expected=0)
    writing = asyncio.create_task(store.write("/b", b"1", expected=0))
    await asyncio.sleep(0)
    for _ in range(20):
        assert await store.read("/a") is not None
        assert len((await store.list("/")).entries) == 1, "a write was shown before it was on disk"
    assert not writing.done()
    await writing
    await store.close()


async def test_heartbeats_are_answered_while_the_disk_is_busy_with_those_before(
    tmp_path: Path, commits: list[int]
) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    began = time.monotonic()
    while len(commits) < 2:
        assert time.monotonic() - began < 60
        await store.write("/beat", str(began).encode(), expected=None, durable=False)
        await asyncio.sleep(0.01)
    beats = await store.revision()
    # At a commit for each heartbeat it would be two.
    assert beats > 4
    await store.close()


async def test_writers_that_wait_share_a_commit(tmp_path: Path, commits: list[int]) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await asyncio.gather(*(store.write(f"/{number}", b"", expected=0) for number in range(500)))
    await store.close()
    assert sum(commits) == 500
    assert len(commits) <= 3


async def test_a_write_that_nobody_waits_for_any_more_is_done_whole_or_not_at_all(
    tmp_path: Path, commits: list[int]
) -> None:
    path = tmp_path / "state.db"
    store = await SqliteStore.open(path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(COMMIT_SECONDS / 3):
            await store.write("/a", b"1", expected=0)
    await store.close()
    store = await SqliteStore.open(path)
    assert await store.read("/a") in (None, Entry("/a", b"1", 1))
    await store.write("/b", b"1", expected=0)
    await store.close()
