"""Log records of the clusters as tables to be queried, within limits of size and age; one SQLite file.

Source: Azure Monitor's reference of the tables AKSControlPlane, AKSAudit and AKSAuditAdmin.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from kobune.aks.arm.kql import Column, Query, compile_query, has_term, render_time
from kobune.api.errors import Json

KEPT_DAYS = 30
KEPT_BYTES = 256 * 1024 * 1024  # Of the file, about; the oldest records go first.
QUERY_STEPS = 50_000_000  # Of SQLite's machine, before a query is given up; some seconds.
STEPS_AT_ONCE = 100_000

_STANDARD = (
    Column("_ResourceId", "string"),
    Column("_SubscriptionId", "string"),
    Column("SourceSystem", "string"),
    Column("TenantId", "string"),
    Column("Type", "string"),
)
_AUDIT = (
    Column("TimeGenerated", "datetime"),
    Column("Level", "string"),
    Column("AuditId", "string"),
    Column("Stage", "string"),
    Column("StageReceivedTime", "datetime"),
    Column("RequestReceivedTime", "datetime"),
    Column("RequestUri", "string"),
    Column("Verb", "string"),
    Column("User", "dynamic"),
    Column("SourceIps", "dynamic"),
    Column("UserAgent", "string"),
    Column("ObjectRef", "dynamic"),
    Column("RequestObject", "dynamic"),
    Column("ResponseObject", "dynamic"),
    Column("ResponseStatus", "dynamic"),
    Column("Annotations", "dynamic"),
    Column("PodName", "string"),
    *_STANDARD,
)
TABLES: dict[str, tuple[Column, ...]] = {
    "AKSControlPlane": (
        Column("TimeGenerated", "datetime"),
        Column("Category", "string"),
        Column("Level", "string"),
        Column("Message", "string"),
        Column("PodName", "string"),
        Column("Stream", "string"),
        *_STANDARD,
    ),
    "AKSAudit": _AUDIT,
    "AKSAuditAdmin": _AUDIT,
}
_SQL_TYPES = {"long": "INTEGER", "real": "REAL", "bool": "INTEGER"}


class TooMuchWork(Exception):
    """The query was given up."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query found."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[object]]


class LogStore:
    """Calls block for short reads and writes."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # What is lost with the machine's power is read from the log files again.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS offsets (file TEXT PRIMARY KEY, inode INTEGER, offset INTEGER)")
        for table, columns in TABLES.items():
            listed = ", ".join(f'"{column.name}" {_SQL_TYPES.get(column.type, "TEXT")}' for column in columns)
            self._db.execute(f'CREATE TABLE IF NOT EXISTS "{table}" ({listed})')
            self._db.execute(f'CREATE INDEX IF NOT EXISTS "{table}_by_time" ON "{table}" (TimeGenerated)')
        self._db.create_function("kql_has", 2, has_term, deterministic=True)

    def close(self) -> None:
        self._db.close()

    def offset(self, file: str) -> tuple[int, int]:
        """The file's inode when it was last read, and up to where it was."""
        row = self._db.execute("SELECT inode, offset FROM offsets WHERE file = ?", (file,)).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def add(self, rows: Iterable[tuple[str, Json]], *, file: str, inode: int, offset: int) -> None:
        """Take in records, by table, and note up to where the file was read: both or neither."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for table, row in rows:
                columns = TABLES[table]
                values = [_stored(row.get(column.name), column.type) for column in columns]
                self._db.execute(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(columns))})', values)
            self._db.execute("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?)", (file, inode, offset))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def trim(self, now: datetime, *, days: int = KEPT_DAYS, most_bytes: int = KEPT_BYTES) -> None:
        """Drop what is too old, and the oldest tenth while there is too much."""
        oldest = render_time(now - timedelta(days=days))
        for table in TABLES:
            self._db.execute(f'DELETE FROM "{table}" WHERE TimeGenerated < ?', (oldest,))
        while self._used_bytes() > most_bytes:
            for table in TABLES:
                tenth = f'SELECT rowid FROM "{table}" ORDER BY TimeGenerated LIMIT (SELECT count(*) / 10 + 1 FROM "{table}")'
                self._db.execute(f'DELETE FROM "{table}" WHERE rowid IN ({tenth})')

    def query(self, text: str, now: datetime, *, resource: str = "", since: datetime | None = None) -> Rows:
        """Answer a query.

        Args:
            resource: the only cluster whose records are seen, by its id; empty: all. `since`: the oldest time that is seen.
        Raises:
            KqlError: the query is not understood. TooMuchWork: it ran too long.
        """
        query = compile_query(text, TABLES, now)
        steps = 0

        def count_steps() -> bool:
            nonlocal steps
            steps += STEPS_AT_ONCE
            return steps > QUERY_STEPS

        # A view of the same name, in the temporary schema, hides what is out of scope from the query.
        self._scope(resource, since)
        self._db.set_progress_handler(count_steps, STEPS_AT_ONCE)
        try:
            rows = self._db.execute(query.sql, query.parameters).fetchall()
        except sqlite3.OperationalError as error:
            raise TooMuchWork(f"the query was given up: {error}") from error
        finally:
            self._db.set_progress_handler(None, 0)
            self._scope("", None)
        return _shown(query, rows)

    def _scope(self, resource: str, since: datetime | None) -> None:
        for table in TABLES:
            self._db.execute(f'DROP VIEW IF EXISTS temp."{table}"')
            conditions = []
            if resource:
                conditions.append("_ResourceId = '{}'".format(resource.lower().replace("'", "''")))
            if since is not None:
                conditions.append(f"TimeGenerated >= '{render_time(since)}'")
            if conditions:
                where = " AND ".join(conditions)
                self._db.execute(f'CREATE TEMP VIEW "{table}" AS SELECT * FROM main."{table}" WHERE {where}')

    def _used_bytes(self) -> int:
        pages, free, size = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


def _stored(value: object, type_: str) -> object:
    if value is None or type_ != "dynamic":
        return value
    return orjson.dumps(value).decode()


def _shown(query: Query, rows: list[tuple[object, ...]]) -> Rows:
    shown = []
    for row in rows:
        cells = []
        for column, value in zip(query.columns, row, strict=True):
            cells.append(bool(value) if column.type == "bool" and value is not None else value)
        shown.append(cells)
    return Rows(query.columns, shown)
