"""A store's state in one file: saved while the store is in use, restored as a new store, by any engine.

The file has the form of the embedded engine's, without history, so restoring one there is a copy.
"""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from kobune.controlplane.store.contract import Damaged, Full, Store
from kobune.controlplane.store.sqlite_log import Row, SqliteLog, check_mark, checksum_of, translated

PAGE = 1000  # Entries read at a time.
WRITERS = 64  # Entries written at a time to a store that is restored object by object.
# Revisions skipped by a restored store: whoever saw later revisions of the store that was saved must not take them for its.
# Source: etcd's documentation of `etcdutl snapshot restore --bump-revision`.
SKIPPED_AFTER_RESTORE = 1_000_000_000


class Snapshot(NamedTuple):
    objects: int
    revision: int  # The state that it shows.
    bytes: int  # Of the file.


def save_file(store: Path, target: Path) -> Snapshot:
    """Save an embedded store, whether a server has it open or not.

    Raises:
        FileNotFoundError, FileExistsError: there is no store; there is something at `target`.
        Damaged, Full, Unavailable: see SqliteLog.
    """
    if not store.is_file():
        raise FileNotFoundError(f"there is no store at {store}")
    with _new_file(target) as unfinished:
        SqliteLog(unfinished).close()
        with translated(store), closing(sqlite3.connect(store, isolation_level=None)) as db:
            check_mark(db, store)
            db.execute("ATTACH ? AS snapshot", (str(unfinished),))
            db.execute("PRAGMA snapshot.journal_mode = OFF")  # An unfinished snapshot is thrown away.
            db.execute("BEGIN")
            db.execute(
                "INSERT INTO snapshot.log SELECT revision, 0, checksum, key, value FROM log"
                " WHERE value IS NOT NULL AND revision NOT IN (SELECT previous FROM log) ORDER BY revision"
            )
            db.execute(
                "UPDATE snapshot.facts SET value = max((SELECT coalesce(max(revision), 0) FROM main.log),"
                " (SELECT max(value) FROM main.facts WHERE name IN ('newest', 'compacted')))"
                " WHERE name IN ('newest', 'compacted')"
            )
            db.execute("COMMIT")
    return describe(target)


async def save(store: Store, target: Path) -> Snapshot:
    """Save what any store holds now. Raises FileExistsError, Full, Unavailable."""
    with _new_file(target) as unfinished, closing(SqliteLog(unfinished)) as log:
        page = await store.list("", limit=PAGE)
        revision = page.revision
        while page.entries:
            rows = [Row(entry.revision, 0, entry.key, entry.value) for entry in page.entries]
            await asyncio.to_thread(log.append, rows)
            if not page.more:
                break
            page = await store.list("", after=page.entries[-1].key, limit=PAGE, revision=revision)
        log.begin_after(revision)
    return describe(target)


def restore_file(snapshot: Path, store: Path) -> Snapshot:
    """Make an embedded store from a snapshot.

    Raises:
        FileNotFoundError, FileExistsError: there is no snapshot; there is a store already, which is not touched.
        Damaged, Full, Unavailable: see SqliteLog.
    """
    found = describe(snapshot)
    with _new_file(store) as unfinished:
        shutil.copyfile(snapshot, unfinished)
        with closing(SqliteLog(unfinished, is_checked=True)) as log:
            log.begin_after(found.revision + SKIPPED_AFTER_RESTORE)
    return found


async def restore(snapshot: Path, store: Store) -> Snapshot:
    """Write a snapshot's objects into any store that is empty. Raises FileExistsError when it is not; Damaged."""
    found = describe(snapshot)
    if (await store.list("", limit=1)).entries:
        raise FileExistsError("the store to restore into is not empty")
    with translated(snapshot), closing(_opened(snapshot)) as db:
        rows = db.execute("SELECT revision, key, value, checksum FROM log ORDER BY revision")
        while some := rows.fetchmany(WRITERS):
            for revision, key, value, checksum in some:
                if checksum_of(revision, key, value) != checksum:
                    raise Damaged(f"{snapshot} is damaged (revision {revision} has a wrong checksum)")
            await asyncio.gather(*(store.write(key, value, expected=0) for _, key, value, _ in some))
    return found


def describe(snapshot: Path) -> Snapshot:
    """What a snapshot holds. Raises FileNotFoundError; Damaged when it is not one or is broken."""
    if not snapshot.is_file():
        raise FileNotFoundError(f"there is no snapshot at {snapshot}")
    with translated(snapshot), closing(_opened(snapshot)) as db:
        check_mark(db, snapshot)
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise Damaged(f"{snapshot} is damaged ({found})")
        (objects,) = db.execute("SELECT count(*) FROM log").fetchone()
        (revision,) = db.execute("SELECT value FROM facts WHERE name = 'newest'").fetchone()
    return Snapshot(objects, revision, snapshot.stat().st_size)


def _opened(snapshot: Path) -> sqlite3.Connection:
    # Nobody writes to a snapshot, so no files have to be made beside it.
    return sqlite3.connect(f"{snapshot.resolve().as_uri()}?immutable=1", uri=True)


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file at `path` once it is complete and on disk."""
    if path.exists():
        raise FileExistsError(f"there is something at {path} already")
    unfinished = path.with_name(f"{path.name}.unfinished")
    _remove(unfinished)
    try:
        yield unfinished
        _sync(unfinished)
        os.chmod(unfinished, 0o600)
        os.rename(unfinished, path)
        _sync(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Full(f"no space is left for {path}") from error
        raise
    finally:
        _remove(unfinished)


def _remove(unfinished: Path) -> None:
    for end in ("", "-wal", "-shm", ".lock"):
        Path(f"{unfinished}{end}").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
