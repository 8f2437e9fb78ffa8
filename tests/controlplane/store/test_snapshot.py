"""Snapshots: what they hold, that stores restored from them begin well, and what goes wrong cleanly."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from kobune.controlplane.store.contract import Damaged, Entry
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.snapshot import SKIPPED_AFTER_RESTORE, Snapshot, restore, restore_file, save, save_file
from kobune.controlplane.store.sqlite import SqliteStore


async def fill(store) -> list[Entry]:
    """Seven writes; what there is afterwards."""
    await store.write("/a", b"1", expected=0)
    await store.write("/b", b"2", expected=0)
    await store.write("/a", b"3", expected=1)
    await store.delete("/b", expected=2)
    await store.write("/c", b"5", expected=0)
    await store.write("/d", b"6", expected=0)
    await store.delete("/d", expected=6)
    return [Entry("/a", b"3", 3), Entry("/c", b"5", 5)]


@pytest.fixture
async def saved(tmp_path: Path) -> Path:
    """A snapshot of a store in use."""
    store = await SqliteStore.open(tmp_path / "old.db")
    expected = await fill(store)
    snapshot = tmp_path / "snapshot"
    assert save_file(tmp_path / "old.db", snapshot)[:2] == (2, 7)
    assert (await store.list("/")).entries == expected
    await store.write("/later", b"", expected=0)
    await store.close()
    return snapshot


async def test_a_snapshot_restores_what_there_was(saved: Path, tmp_path: Path) -> None:
    assert restore_file(saved, tmp_path / "new.db")[:2] == (2, 7)
    store = await SqliteStore.open(tmp_path / "new.db")
    assert (await store.list("/")).entries == [Entry("/a", b"3", 3), Entry("/c", b"5", 5)]
    assert await store.write("/a", b"8", expected=3) == 7 + SKIPPED_AFTER_RESTORE + 1
    await store.close()


async def test_a_snapshot_can_be_restored_again_and_again(saved: Path, tmp_path: Path) -> None:
    before = saved.read_bytes()
    for name in ("one.db", "two.db"):
        restore_file(saved, tmp_path / name)
        store = await SqliteStore.open(tmp_path / name)
        assert await store.revision() == 7 + SKIPPED_AFTER_RESTORE
        await store.close()
    assert saved.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == [
        "old.db", "old.db.lock", "one.db", "one.db.lock", "snapshot", "two.db", "two.db.lock",
    ]  # fmt: skip


async def test_any_store_can_be_saved_and_restored(tmp_path: Path) -> None:
    store = MemoryStore()
    await fill(store)
    assert (await save(store, tmp_path / "snapshot"))[:2] == (2, 7)
    other = MemoryStore()
    await restore(tmp_path / "snapshot", other)
    assert [entry[:2] for entry in (await other.list("/")).entries] == [("/a", b"3"), ("/c", b"5")]
    restore_file(tmp_path / "snapshot", tmp_path / "new.db")
    embedded = await SqliteStore.open(tmp_path / "new.db")
    assert (await embedded.list("/")).entries == [Entry("/a", b"3", 3), Entry("/c", b"5", 5)]
    await embedded.close()


async def test_a_snapshot_shows_one_moment_while_others_write(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "old.db")

    async def write() -> None:
        for number in range(300):
            # Two keys that never differ by more than one.
            await store.write("/a", b"%d" % number, expected=None)
            await store.write("/b", b"%d" % number, expected=None)

    writing = asyncio.ensure_future(write())
    found: list[Snapshot] = []
    while not writing.done():
        found.append(await asyncio.to_thread(save_file, tmp_path / "old.db", tmp_path / f"{len(found)}"))
    await store.close()
    for number, snapshot in enumerate(found):
        other = MemoryStore()
        await restore(tmp_path / f"{number}", other)
        values = {entry.key: int(entry.value) for entry in (await other.list("/")).entries}
        assert snapshot.objects == len(values)
        if len(values) == 2:
            assert values["/a"] - values["/b"] in (0, 1)
            assert snapshot.revision == values["/a"] + values["/b"] + 2


async def test_a_snapshot_is_private(saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


async def test_nothing_is_overwritten(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        save_file(tmp_path / "old.db", saved)
    with pytest.raises(FileExistsError):
        restore_file(saved, tmp_path / "old.db")
    store = MemoryStore()
    await store.write("/x", b"", expected=0)
    with pytest.raises(FileExistsError):
        await restore(saved, store)


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_file(tmp_path / "old.db", tmp_path / "snapshot")
    with pytest.raises(FileNotFoundError):
        restore_file(tmp_path / "snapshot", tmp_path / "new.db")


async def test_a_broken_snapshot_makes_no_store(saved: Path, tmp_path: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:9000])
    with pytest.raises(Damaged):
        restore_file(saved, tmp_path / "new.db")
    saved.write_bytes(b"no snapshot at all" * 100)
    with pytest.raises(Damaged):
        restore_file(saved, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
