"""The file of the embedded engine: one row per write in a SQLite table whose row id is the revision.

A row names the revision that it replaced, so any past state can be walked back to and compaction deletes by row id; no index
on keys has to be kept on disk. Every row has a checksum. Nothing here knows of event loops; one thread writes, one reads.
"""

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import orjson

from kobune.controlplane.store.contract import Change, Damaged, Full, Unavailable

APPLICATION_ID = 0x6B6F6275  # "kobu"; marks the file as ours.
FORMAT = 1
PAGE_BYTES = 8192  # Three objects of ordinary size; 4096 holds one, and twice as much is written for it.
CHECKPOINT_BYTES = 4 * 2**20  # Written between checkpoints: what a checkpoint takes grows with it.
ROWS_PER_STATEMENT = (1024, 256, 64)  # One call per statement: each one gives up the interpreter lock and waits for it.
VACUUM_PAGES = 1000  # Free pages worth giving back to the file system.
VACUUM_STEP = 100  # Of them at a time.

_SCHEMA = """
CREATE TABLE log (
    revision INTEGER PRIMARY KEY,
    previous INTEGER NOT NULL,  -- The revision of the key's last entry; 0: there was none.
    checksum INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB                  -- NULL: deleted.
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
-- compacted: history up to this revision has been deleted. newest: no revision up to this one is given again.
INSERT INTO facts VALUES ('compacted', 0), ('newest', 0), ('clean', 1);
"""
# After a crash so many revisions are skipped, because some may have been given to writes that were seen but not yet durable.
# More than can be in that state at one time.
SKIPPED_AFTER_CRASH = 100_000


class InUse(Exception):
    """Another process has the file open."""


class Row(NamedTuple):
    revision: int
    previous: int
    key: str
    value: bytes | None


class SqliteLog:
    """An open file. `append`, `compact` and `checkpoint` belong to one thread, the reading methods to another.

    Args:
        is_checked: its structure need not be looked at, because it just has been.
    Raises:
        InUse: another server has it open.
        Damaged: the file is not a store or is broken; it is left as it is.
        Unavailable: it cannot be opened or made.
    """

    def __init__(self, path: Path, *, is_checked: bool = False) -> None:
        self.path = path
        self._since_checkpoint = 0
        with ExitStack() as undo:
            self._lock = _lock(path)
            undo.callback(os.close, self._lock)
            try:
                # Before SQLite makes it with the modes of the umask; its other files copy these.
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise Unavailable(f"{path} cannot be opened: {error.strerror}") from error
            with self._translated():
                self._writer = undo.enter_context(closing(_connect(path)))
                self._prepare(is_checked)
                self._reader = _connect(path)
            undo.pop_all()

    def close(self) -> None:
        self._reader.close()
        with suppress(sqlite3.DatabaseError):
            # On a full disk: as after a crash.
            self._set("clean", 1)
        self._writer.close()  # SQLite puts everything into the main file.
        os.close(self._lock)

    # Writing

    def append(self, rows: Sequence[Row]) -> None:
        """Put rows on disk, all or none."""
        values: list[object] = []
        for revision, previous, key, value in rows:
            values += (revision, previous, checksum_of(revision, key, value), key, value)
            self._since_checkpoint += 128 + len(key) + (len(value) if value else 0)
        with self._translated():
            if len(rows) <= ROWS_PER_STATEMENT[0]:
                self._writer.execute(_insert(len(rows)), values)
                return
            with self._transaction():
                while values:
                    count = next((size for size in ROWS_PER_STATEMENT if size * 5 <= len(values)), len(values) // 5)
                    self._writer.execute(_insert(count), values[: count * 5])
                    del values[: count * 5]

    def compact(self, after: int, upto: int, rows: int) -> int:
        """Delete what the first `rows` rows with `after` < revision <= `upto` replaced, and those that are deletions.

        Returns:
            The revision up to which that has been done; `upto` when nothing is left to do.
        """
        with self._translated():
            last = self._writer.execute(
                "SELECT revision FROM log WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT 1 OFFSET ?",
                (after, upto, rows - 1),
            ).fetchone()
            span = (after, last[0] if last else upto)
            with self._transaction():
                replaced = self._writer.execute(
                    "DELETE FROM log WHERE revision IN"
                    " (SELECT previous FROM log WHERE revision > ? AND revision <= ? AND previous > 0)",
                    span,
                )
                gone = self._writer.execute(
                    "DELETE FROM log WHERE revision > ? AND revision <= ? AND value IS NULL", span
                )
                self._set("compacted", span[1])
            # Each may have been in a page of its own.
            self._since_checkpoint += (replaced.rowcount + gone.rowcount) * PAGE_BYTES
            (free,) = self._writer.execute("PRAGMA freelist_count").fetchone()
            (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
            if free > max(VACUUM_PAGES, pages // 4):
                self._writer.execute(f"PRAGMA incremental_vacuum({VACUUM_STEP})").fetchall()
                self._since_checkpoint += VACUUM_STEP * PAGE_BYTES
        return span[1]

    def begin_after(self, revision: int) -> None:
        """Give only later revisions from now on, and have no history before."""
        with self._translated():
            self._set("newest", revision)
            self._set("compacted", revision)

    def checkpoint(self) -> None:
        """When enough has been written since the last time, move it from the write-ahead log into the main file."""
        if self._since_checkpoint >= CHECKPOINT_BYTES:
            self._since_checkpoint = 0
            with self._translated():
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # Reading

    def compacted(self) -> int:
        """The revision up to which history has been deleted."""
        with self._translated():
            return _fact(self._reader, "compacted")

    def index(self) -> tuple[dict[str, int], int]:
        """The revision of every key that there is, and the newest revision that was ever given."""
        index: dict[str, int] = {}
        revision = 0
        with self._translated():
            for revision, key, deleted in self._reader.execute(
                "SELECT revision, key, value IS NULL FROM log ORDER BY revision"
            ):
                if deleted:
                    index.pop(key, None)
                else:
                    index[key] = revision
            # The newest rows may have been deletions that are compacted away.
            return index, max(revision, _fact(self._reader, "compacted"), _fact(self._reader, "newest"))

    def values(self, revisions: Sequence[int]) -> dict[int, bytes]:
        """What was written at these revisions."""
        with self._translated():
            rows = self._reader.execute(
                "SELECT revision, key, value, checksum FROM log WHERE revision IN (SELECT value FROM json_each(?))",
                (orjson.dumps(revisions).decode(),),
            ).fetchall()
        if len(rows) != len(revisions):
            raise Damaged(_damage(self.path, f"{len(revisions) - len(rows)} entries are missing"))
        self._check(rows)
        return {revision: value for revision, _, value, _ in rows}

    def replaced_since(self, revision: int, upto: int) -> dict[str, int]:
        """For each key written with `revision` < r <= `upto`: its entry's revision before that; 0: there was none."""
        with self._translated():
            rows = self._reader.execute(
                "SELECT key, previous, min(revision) FROM log WHERE revision > ? AND revision <= ? GROUP BY key",
                (revision, upto),
            ).fetchall()
        return {key: previous for key, previous, _ in rows}

    def changes(self, after: int, upto: int, limit: int) -> list[Change]:
        """The first `limit` changes with `after` < revision <= `upto`."""
        with self._translated():
            rows = self._reader.execute(
                "SELECT revision, key, value, checksum FROM log WHERE revision > ? AND revision <= ?"
                " ORDER BY revision LIMIT ?",
                (after, upto, limit),
            ).fetchall()
        self._check(rows)
        return [Change(key, value, revision) for revision, key, value, _ in rows]

    # Opening

    def _prepare(self, is_checked: bool) -> None:
        """Make the tables in a new file; check an old one."""
        db = self._writer
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables == 0:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.executescript(
                f"BEGIN;{_SCHEMA}PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={FORMAT};COMMIT"
            )
        check_mark(db, self.path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        if tables and not is_checked:
            # The whole structure. What the entries hold is checked by their checksums when it is read.
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise Damaged(_damage(self.path, found))
        if not _fact(db, "clean"):
            (newest,) = db.execute("SELECT coalesce(max(revision), 0) FROM log").fetchone()
            self._set("newest", max(newest, _fact(db, "newest"), _fact(db, "compacted")) + SKIPPED_AFTER_CRASH)
        self._set("clean", 0)

    def _set(self, fact: str, value: int) -> None:
        self._writer.execute("UPDATE facts SET value = ? WHERE name = ?", (value, fact))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.path)

    def _check(self, rows: Iterable[tuple[int, str, bytes | None, int]]) -> None:
        for revision, key, value, checksum in rows:
            if checksum_of(revision, key, value) != checksum:
                raise Damaged(_damage(self.path, f"revision {revision} has a wrong checksum"))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as the contract's."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise Full(f"no space is left for {path}") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise Damaged(_damage(path, str(error))) from error
        raise Unavailable(f"{path}: {error}") from error


def check_mark(db: sqlite3.Connection, path: Path) -> None:
    """Raises Damaged when the database is not a store of this format."""
    (mark,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if mark != APPLICATION_ID:
        raise Damaged(f"{path} is a database of something else")
    if version != FORMAT:
        raise Damaged(f"{path} has format {version}; this program reads format {FORMAT}")


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=128)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    return db


def _fact(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return int(value)


def checksum_of(revision: int, key: str, value: bytes | None) -> int:
    start = zlib.crc32(key.encode()) ^ revision & 0xFFFFFFFF
    return zlib.crc32(value, start) if value is not None else ~start & 0xFFFFFFFF


def _insert(rows: int) -> str:
    return f"INSERT INTO log (revision, previous, checksum, key, value) VALUES {','.join(['(?,?,?,?,?)'] * rows)}"


def _damage(path: Path, what: str) -> str:
    return f"{path} is damaged ({what}); it was left as it is: restore a snapshot (kobune snapshot restore), or move it away to begin anew"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keep the store at `path` from being opened. Raises InUse when it is open."""
    handle = _lock(path)
    try:
        yield
    finally:
        os.close(handle)


def _lock(path: Path) -> int:
    """Hold the file beside it that says: in use. It is a file of its own, because closing any handle of a file drops SQLite's locks."""
    try:
        lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise InUse(f"{path} is in use by process {owner or 'unknown'}") from None
    with suppress(OSError):
        # For the message above; a full disk does without.
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
