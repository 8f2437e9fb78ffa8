"""A store whose values are encrypted before they leave the process; what is around it sees them as they are."""

import logging
from collections.abc import AsyncIterator, Sequence

from kobune.controlplane.store.contract import Change, Conflict, Damaged, Entry, Page, Store, Unavailable
from kobune.controlplane.store.encryption import Encryption

log = logging.getLogger(__name__)

PAGE = 500  # Entries looked at in one go.


class EncryptedStore:
    """Any store, seen through an encryption. Every reading method may raise Damaged: what is there cannot be decrypted.

    Args:
        changes: encryptions that take its place one after the other, as their configuration changes.
    """

    def __init__(self, store: Store, encryption: Encryption, changes: AsyncIterator[Encryption] | None = None) -> None:
        self._store = store
        self._encryption = encryption
        self._changes = changes

    async def revision(self) -> int:
        return await self._store.revision()

    async def members(self) -> Sequence[str]:
        return await self._store.members()

    async def read(self, key: str) -> Entry | None:
        entry = await self._store.read(key)
        return entry and self._opened(entry)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        page = await self._store.list(prefix, after=after, limit=limit, revision=revision)
        return page._replace(entries=[self._opened(entry) for entry in page.entries])

    async def write(
        self, key: str, value: bytes, *, expected: int | None, durable: bool = True, seconds: float = 0.0
    ) -> int:
        sealed = self._encryption.sealer(key).seal(key, value)
        try:
            return await self._store.write(key, sealed, expected=expected, durable=durable, seconds=seconds)
        except Conflict as conflict:
            raise self._translated(conflict) from conflict

    async def delete(self, key: str, *, expected: int | None) -> int:
        try:
            return await self._store.delete(key, expected=expected)
        except Conflict as conflict:
            raise self._translated(conflict) from conflict

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        async for batch in self._store.watch(prefix, after=after):
            yield [
                change
                if change.value is None
                else change._replace(value=self._encryption.sealer(change.key).open(change.key, change.value).value)
                for change in batch
            ]

    async def progress(self) -> None:
        await self._store.progress()

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        await self._store.close()

    async def seal_anew(self) -> int:
        """Write again whatever is sealed otherwise than it would be now; how much that was. After it old keys can go.

        Where the encryption may change this goes on until cancelled, and does so after each change.
        """
        count = await self._seal_all()
        if self._changes is not None:
            async for encryption in self._changes:
                self._encryption = encryption
                try:
                    again = await self._seal_all()
                except (Damaged, Unavailable) as error:
                    log.warning("Not everything is sealed with the newest key: %s", error)
                else:
                    log.info("Everything is sealed with the newest key, anew: %d", again)
                    count += again
        return count

    async def _seal_all(self) -> int:
        count, after = 0, ""
        while True:
            page = await self._store.list("", after=after, limit=PAGE)
            for key, stored, revision in page.entries:
                opened = self._encryption.sealer(key).open(key, stored)
                if opened.stale:
                    try:
                        await self.write(key, opened.value, expected=revision)
                    except Conflict:
                        continue  # Whoever wrote it sealed it anew.
                    count += 1
            if not page.more:
                return count
            after = page.entries[-1].key

    def _opened(self, entry: Entry) -> Entry:
        return entry._replace(value=self._encryption.sealer(entry.key).open(entry.key, entry.value).value)

    def _translated(self, conflict: Conflict) -> Conflict:
        return Conflict(conflict.key, conflict.current and self._opened(conflict.current))
