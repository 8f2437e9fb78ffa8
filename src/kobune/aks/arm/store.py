"""What the front end remembers: resources as documents, operations, settings; one SQLite file, every write on disk.

A key is an ARM id in lower case, since ARM compares ids so; the document keeps the id as it was first written.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import orjson

from kobune.api.errors import Json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    key TEXT PRIMARY KEY, type TEXT NOT NULL, document TEXT NOT NULL, place TEXT NOT NULL, etag TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resources_by_type ON resources (type, key);
CREATE TABLE IF NOT EXISTS operations (
    id TEXT PRIMARY KEY, resource TEXT NOT NULL, kind TEXT NOT NULL, wish TEXT NOT NULL, pools TEXT NOT NULL,
    removed TEXT NOT NULL, running INTEGER NOT NULL, status TEXT NOT NULL, started TEXT NOT NULL, ended TEXT NOT NULL,
    code TEXT NOT NULL, message TEXT NOT NULL, percent INTEGER NOT NULL, result TEXT NOT NULL,
    shared TEXT NOT NULL, caller TEXT NOT NULL DEFAULT '', warning TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS operations_unfinished ON operations (ended, resource);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
OPERATIONS_KEPT = 2000  # Ended ones; the oldest are dropped beyond that.


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource."""

    key: str
    type: str  # In lower case: "microsoft.containerservice/managedclusters".
    document: Json
    place: str = ""  # Of a cluster: where the service keeps it.
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A long-running operation."""

    id: str
    resource: str  # Key.
    kind: str  # The provisioningState while it runs: "Creating", "Upgrading", …
    wish: str  # What the engine is asked for; empty: nothing.
    pools: tuple[str, ...] = ()  # Those that it changes.
    removed: tuple[str, ...] = ()  # Machines that it deletes.
    running: bool = True  # Whether the cluster runs afterwards.
    status: str = "InProgress"
    started: str = ""  # RFC 3339.
    ended: str = ""
    code: str = ""
    message: str = ""
    percent: int = 0
    result: str = ""  # What the operation's result URL answers, as JSON; empty: nothing.
    shared: str = ""  # The later operation whose wish includes this one's; empty: it has a wish of its own.
    caller: str = ""  # Who asked for it; empty: nobody, the service began it by itself.
    warning: str = ""  # What has not become as one would expect, though the operation succeeded.

    @property
    def wish_id(self) -> str:
        """The id under which the engine answers."""
        return self.shared or self.id


_OPERATION_COLUMNS = tuple(column.name for column in fields(Operation))


class ArmStore:
    """Documents and operations. Calls block for one small disk write at most."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        columns = {row[1] for row in self._db.execute("PRAGMA table_info(operations)")}
        for name in {"caller", "warning"} - columns:  # Made before these were remembered.
            self._db.execute(f"ALTER TABLE operations ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
        self._depth = 0

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside, or none of them."""
        if self._depth:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        else:
            self._db.execute("COMMIT")
        finally:
            self._depth = 0

    def find(self, resource_id: str) -> Resource | None:
        row = self._db.execute(
            "SELECT key, type, document, place, etag FROM resources WHERE key = ?", (_key(resource_id),)
        ).fetchone()
        return _resource(row) if row else None

    def list(self, type_: str, below: str = "") -> Sequence[Resource]:
        """Resources of one type below an id, by key."""
        prefix = _key(below)
        rows = self._db.execute(
            "SELECT key, type, document, place, etag FROM resources WHERE type = ? AND key >= ? ORDER BY key",
            (type_.lower(), prefix),
        )
        return [_resource(row) for row in rows if row[0] == prefix or row[0].startswith(f"{prefix}/")]

    def list_below(self, below: str) -> Sequence[Resource]:
        """Every resource below an id, by key."""
        prefix = _key(below) + "/"
        rows = self._db.execute(
            "SELECT key, type, document, place, etag FROM resources WHERE key >= ? AND key < ? ORDER BY key",
            (prefix, prefix + "\U0010ffff"),
        )
        return [_resource(row) for row in rows]

    def put(self, resource: Resource) -> Resource:
        resource = replace(resource, key=_key(resource.key), type=resource.type.lower())
        self._db.execute(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?)",
            (
                resource.key,
                resource.type,
                orjson.dumps(resource.document).decode(),
                resource.place,
                resource.etag,
            ),
        )
        return resource

    def remove(self, resource_id: str) -> None:
        """The resource and everything below it."""
        key = _key(resource_id)
        with self.transaction():
            self._db.execute("DELETE FROM resources WHERE key = ?", (key,))
            prefix = key + "/"
            self._db.execute("DELETE FROM resources WHERE key >= ? AND key < ?", (prefix, prefix + "\U0010ffff"))

    def find_operation(self, operation_id: str) -> Operation | None:
        row = self._db.execute(f"{_SELECT} WHERE id = ?", (operation_id,)).fetchone()
        return _operation(row) if row else None

    def unfinished(self, resource_id: str = "") -> Sequence[Operation]:
        """Operations that have not ended, the oldest first; of one resource, or of all."""
        if resource_id:
            rows = self._db.execute(
                f"{_SELECT} WHERE ended = '' AND resource = ? ORDER BY started", (_key(resource_id),)
            )
        else:
            rows = self._db.execute(f"{_SELECT} WHERE ended = '' ORDER BY started")
        return [_operation(row) for row in rows]

    def all_operations(self) -> Sequence[Operation]:
        """Every operation that is remembered, the oldest first."""
        return [_operation(row) for row in self._db.execute(f"{_SELECT} ORDER BY started")]

    def latest_operation(self, resource_id: str, pool: str = "") -> Operation | None:
        """The one that began last, of the resource or of one of its pools."""
        rows = self._db.execute(f"{_SELECT} WHERE resource = ? ORDER BY started DESC", (_key(resource_id),))
        found = (_operation(row) for row in rows)
        return next((operation for operation in found if not pool or pool in operation.pools), None)

    def operations(self, resource_id: str, limit: int) -> Sequence[Operation]:
        """The resource's last ones, the latest first."""
        rows = self._db.execute(
            f"{_SELECT} WHERE resource = ? ORDER BY started DESC LIMIT ?", (_key(resource_id), limit)
        )
        return [_operation(row) for row in rows]

    def put_operation(self, operation: Operation) -> None:
        values = [getattr(operation, name) for name in _OPERATION_COLUMNS]
        values = [orjson.dumps(value).decode() if isinstance(value, tuple) else value for value in values]
        columns, marks = ", ".join(_OPERATION_COLUMNS), ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR REPLACE INTO operations ({columns}) VALUES ({marks})", values)
        if operation.ended:
            self._db.execute(
                "DELETE FROM operations WHERE ended != '' AND id NOT IN"
                " (SELECT id FROM operations ORDER BY started DESC LIMIT ?)",
                (OPERATIONS_KEPT,),
            )

    def setting(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


_SELECT = f"SELECT {', '.join(_OPERATION_COLUMNS)} FROM operations"


def _key(resource_id: str) -> str:
    return resource_id.rstrip("/").lower()


def _resource(row: tuple[str, str, str, str, str]) -> Resource:
    return Resource(row[0], row[1], orjson.loads(row[2]), row[3], row[4])


def _operation(row: tuple[object, ...]) -> Operation:
    values = dict(zip(_OPERATION_COLUMNS, row, strict=True))
    for name in ("pools", "removed"):
        values[name] = tuple(orjson.loads(str(values[name])))
    values["running"] = bool(values["running"])
    return Operation(**values)  # type: ignore[arg-type]
