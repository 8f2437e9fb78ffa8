"""What the API server needs of a store: numbered writes, ordered ranges, history. Every engine passes tests/contracts."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    key: str
    value: bytes
    revision: int  # The write that made this value; counts store-wide, and is the API's resourceVersion.


class Page(NamedTuple):
    entries: Sequence[Entry]  # In key order (by code point).
    revision: int  # The store's revision that this page shows.
    more: bool  # Further keys follow after the last one.


class Change(NamedTuple):
    """One committed write or deletion."""

    key: str
    value: bytes | None  # None: deleted.
    revision: int


class Conflict(Exception):
    """The key's revision is not the expected one; nothing was written."""

    def __init__(self, key: str, current: Entry | None) -> None:
        super().__init__(f"{key} is at revision {current.revision if current else 0}")
        self.key = key
        self.current = current


class Compacted(Exception):
    """The history asked for is no longer kept."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"required revision has been compacted; the oldest kept is {oldest} or later")
        self.oldest = oldest


class Unavailable(Exception):
    """The store cannot be reached or does not answer. Whether a write under way was done is unknown."""


class Full(Unavailable):
    """There is no room to write; nothing was written. Reads go on, and writes once there is room again."""


class Damaged(Exception):
    """What is stored is not what was written. The message says what to do."""


class Closed(Exception):
    """The store has been closed."""


class Store(Protocol):
    """Keys whose every write is numbered by one counter, as in etcd. Values are opaque.

    A write that has returned is on disk, unless `durable=False` was passed: such a write is visible at once and reaches
    the disk soon after (heartbeats and events use it). Every method may raise Unavailable.
    All methods belong to one event loop. After `close` every method, and every watch under way, raises Closed.
    """

    async def revision(self) -> int:
        """The newest committed revision, by whomever; for an embedded store never written to 0."""

    async def members(self) -> Sequence[str]:
        """What is wrong with each of the processes that keep the store, "" with one that is well. Raises nothing."""

    async def read(self, key: str) -> Entry | None:
        """The newest entry under `key`."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries whose key starts with `prefix`, in order.

        Args:
            after: only keys greater than this one (a page's last key).
            limit: at most so many entries; 0 is no limit.
            revision: the state as it was at this revision; 0 is now.
        Raises:
            Compacted: `revision` is older than the kept history.
        """

    async def write(
        self, key: str, value: bytes, *, expected: int | None, durable: bool = True, seconds: float = 0.0
    ) -> int:
        """Replace the entry at revision `expected` (0: there is none; None: whatever is there); return the new revision.

        Args:
            seconds: how long the value need be kept, after which an engine that can removes it; 0 is for ever.
        Raises:
            Conflict: the key is at another revision; nothing was written.
        """

    async def delete(self, key: str, *, expected: int | None) -> int:
        """Remove the entry at revision `expected` (None: whatever is there); return the deletion's revision.

        Raises:
            Conflict: the key is at another revision, or absent.
        """

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        """Every change under `prefix` with a revision greater than `after`, in order, in batches, for ever.

        The embedded engines deliver a change before its `write` returns. A change without a key is none: of an engine that
        others use too it says to a watch of everything that all up to its revision has been delivered.

        Raises:
            Compacted: changes after `after` have been compacted away.
        """

    async def progress(self) -> None:
        """Have the watches of everything told soon how far they are. Nothing to do where each revision is a change of theirs."""

    async def compact(self, revision: int) -> None:
        """Forget the changes up to and including `revision`; the state at `revision` is the oldest that `list` still shows.

        A revision in the future is capped; one already compacted changes nothing.
        """

    async def close(self) -> None:
        """Put everything on disk and let go of it."""
