"""The embedded engine's own promises: what is on disk, what a broken or full disk does, who may open the file."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kobune.controlplane.store.contract import Change, Compacted, Conflict, Damaged, Entry, Unavailable
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.controlplane.store.sqlite_log import CHECKPOINT_BYTES, InUse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


def rows(path: Path) -> list[int]:
    """The revisions in the file."""
    with sqlite3.connect(path) as db:
        found = [revision for (revision,) in db.execute("SELECT revision FROM log ORDER BY revision")]
    db.close()
    return found


async def changes(store: SqliteStore, after: int) -> list[Change]:
    async for batch in store.watch("/", after=after):
        return list(batch)
    raise AssertionError


async def test_everything_outlives_the_process(path: Path) -> None:
    async with opened(path) as store:
        await store.write("/a", b"1", expected=0)
        await store.write("/b", b"2", expected=0)
        await store.delete("/a", expected=1)
        await store.write("/c", b"4", expected=0, durable=False)
    async with opened(path) as store:
        assert await store.revision() == 4
        assert (await store.list("/")).entries == [Entry("/b", b"2", 2), Entry("/c", b"4", 4)]
        assert (await store.list("/", revision=2)).entries == [Entry("/a", b"1", 1), Entry("/b", b"2", 2)]
        assert [change.revision for change in await changes(store, 1)] == [2, 3, 4]
        with pytest.raises(Conflict):
            await store.write("/b", b"", expected=0)
        assert await store.write("/a", b"5", expected=0) == 5


async def test_revisions_go_on_when_the_newest_rows_were_compacted(path: Path) -> None:
    async with opened(path) as store:
        await store.write("/a", b"1", expected=0)
        await store.delete("/a", expected=1)
        await store.compact(2)
    assert rows(path) == []
    async with opened(path) as store:
        assert await store.revision() == 2
        with pytest.raises(Compacted):
            await store.list("/", revision=1)
        assert await store.write("/a", b"3", expected=0) == 3


async def test_compaction_deletes_what_can_no_longer_be_seen(path: Path) -> None:
    async with opened(path) as store:
        for number in range(300):
            await store.write(f"/{number % 3}", b"%d" % number, expected=None)
        await store.delete("/0", expected=None)
        await store.compact(300)
        assert await store.read("/1") == Entry("/1", b"298", 299)
        assert (await store.list("/", revision=300)).entries[0] == Entry("/0", b"297", 298)
    assert rows(path) == [298, 299, 300, 301]
    async with opened(path) as store:
        await store.compact(301)
    assert rows(path) == [299, 300]


async def test_compaction_leaves_no_checkpoint_that_would_hold_up_writes(path: Path) -> None:
    """What it writes to the write-ahead log is moved into the file as it goes."""
    async with opened(path) as store:
        for expected in (0, None):
            for first in range(0, 4000, 500):
                keys = [f"/{number}" for number in range(first, first + 500)]
                await asyncio.gather(*(store.write(key, bytes(4000), expected=expected) for key in keys))
        await store.compact(await store.revision())
        assert path.with_name(f"{path.name}-wal").stat().st_size < 2 * CHECKPOINT_BYTES


async def test_nothing_that_is_being_read_is_compacted_away(path: Path) -> None:
    async with opened(path) as store:
        for number in range(50):
            await store.write("/a", b"%d" % number, expected=None)
        watching = store.watch("/", after=10)
        first = await anext(watching)
        compacting = asyncio.ensure_future(store.compact(50))
        assert [change.revision for change in first] == list(range(11, 51))
        await watching.aclose()
        await compacting


async def test_a_write_that_need_not_be_durable_is_soon_on_disk(path: Path) -> None:
    async with opened(path) as store:
        await store.write("/a", b"1", expected=0, durable=False)
        assert (await store.list("/")).entries == [Entry("/a", b"1", 1)]
        assert (await store.list("/", revision=1)).entries == [Entry("/a", b"1", 1)]
        assert await changes(store, 0) == [Change("/a", b"1", 1)]
        await asyncio.sleep(0.3)
        assert rows(path) == [1]


async def test_writes_of_both_sorts_are_seen_in_the_order_of_their_revisions(path: Path) -> None:
    async with opened(path) as store:

        async def write(worker: int) -> list[int]:
            return [
                await store.write(f"/{worker}", b"", expected=None, durable=(worker + number) % 3 == 0)
                for number in range(100)
            ]

        async with asyncio.TaskGroup() as tasks:
            seen = tasks.create_task(collect(store, 1000))
            written = [tasks.create_task(write(worker)) for worker in range(10)]
        assert [change.revision for change in seen.result()] == list(range(1, 1001))
        assert sorted(revision for task in written for revision in task.result()) == list(range(1, 1001))


async def collect(store: SqliteStore, count: int) -> list[Change]:
    found: list[Change] = []
    async for batch in store.watch("/", after=0):
        found += batch
        if len(found) >= count:
            return found
    raise AssertionError


async def test_the_files_are_private(path: Path) -> None:
    async with opened(path) as store:
        await store.write("/a", b"1", expected=0)
        modes = {name: stat.S_IMODE((path.parent / name).stat().st_mode) for name in os.listdir(path.parent)}
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm", "state.db.lock"), 384)


async def test_two_servers_cannot_open_one_file(path: Path) -> None:
    async with opened(path) as store:
        with pytest.raises(InUse, match=f"state.db is in use by process {os.getpid()}"):
            await SqliteStore.open(path)
        program = f"""
import asyncio
from kobune.controlplane.store.sqlite import SqliteStore
asyncio.run(SqliteStore.open({str(path)!r}))
"""
        result = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True
        )
        assert f"in use by process {os.getpid()}" in result.stderr
        await store.write("/a", b"1", expected=0)
    async with opened(path) as store:
        assert await store.revision() == 1


async def test_a_folder_that_is_not_there_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened: No such file or directory"):
        await SqliteStore.open(path / "deeper")


async def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(Damaged, match="is a database of something else"):
        await SqliteStore.open(path)
    path.write_bytes(b"This is a letter. " * 1000)
    with pytest.raises(Damaged, match="restore a snapshot"):
        await SqliteStore.open(path)
    assert path.read_bytes() == b"This is a letter. " * 1000


async def test_a_changed_byte_is_noticed(path: Path) -> None:
    async with opened(path) as store:
        await store.write("/a", b"hello world" * 10, expected=0)
    content = path.read_bytes()
    at = content.index(b"hello world")
    path.write_bytes(content[:at] + b"j" + content[at + 1 :])
    async with opened(path) as store:
        with pytest.raises(Damaged, match="revision 1 has a wrong checksum"):
            await store.list("/")


@pytest.mark.parametrize("after_a_crash", [False, True])
async def test_a_torn_file_is_noticed_at_start(path: Path, after_a_crash: bool) -> None:
    async with opened(path) as store:
        for number in range(500):
            await store.write(f"/{number}", b"x" * 1000, expected=0, durable=False)
    if after_a_crash:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE facts SET value = 0 WHERE name = 'clean'")
        db.close()
    content = bytearray(path.read_bytes())
    content[20 * 8192 : 30 * 8192] = os.urandom(10 * 8192)
    path.write_bytes(content)
    with pytest.raises(Damaged, match="restore a snapshot"):
        await SqliteStore.open(path)
    assert path.read_bytes() == content


async def test_damage_that_no_reader_would_meet_is_noticed_at_start(path: Path) -> None:
    """As in the list of free pages: whatever is written next may then overwrite what is there."""
    async with opened(path) as store:
        await store.write("/a", bytes(100_000), expected=0)
        await store.compact(await store.delete("/a", expected=None))
    content = bytearray(path.read_bytes())
    free = 8192 * (int.from_bytes(content[32:36], "big") - 1)  # Source: SQLite's file format, the freelist.
    assert free > 0
    content[free + 4 : free + 8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="restore a snapshot"):
        await SqliteStore.open(path)
    assert path.read_bytes() == content


FULL = """
import asyncio, resource, sys
from kobune.controlplane.store.contract import Unavailable
from kobune.controlplane.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(sys.argv[1])
    await store.write("/first", b"x" * 1000, expected=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    written = 1
    try:
        while True:
            await store.write("/a", b"x" * 10_000, expected=None)
            written += 1
    except Unavailable:
        pass
    heartbeat = await store.write("/heartbeat", b"1", expected=0, durable=False)
    assert heartbeat == written + 1, (heartbeat, written)
    for _ in range(3):
        try:
            await store.write("/b", b"x" * 10_000, expected=0)
        except Unavailable:
            pass
        else:
            raise AssertionError("the disk is full")
    assert (await store.read("/first")).value == b"x" * 1000
    assert (await store.read("/heartbeat")).value == b"1"
    assert len((await store.list("/")).entries) == 3
    assert await store.revision() == written + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert await store.write("/b", b"room", expected=0) == written + 2
    await store.close()
    store = await SqliteStore.open(sys.argv[1])
    assert [entry.key for entry in (await store.list("/")).entries] == ["/a", "/b", "/first", "/heartbeat"]
    assert await store.revision() == written + 2
    await store.close()
    print("recovered")

asyncio.run(main())
"""


async def test_where_nothing_can_be_written_writes_fail_reads_go_on_and_it_recovers(path: Path) -> None:
    result = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True
    )
    assert result.stderr == ""
    assert result.stdout == "recovered\n"
