"""Writes one pod's status: the newest counts, and what follows at once makes an intermediate one needless."""

import asyncio
import logging
from typing import ClassVar

import msgspec

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Conflict, Json, NotFound
from kobune.api.objects.meta import GVK, Key, Object
from kobune.client.client import Client, Patch
from kobune.node.kubelet.node_status import wait_or
from kobune.node.kubelet.status import status_patch

log = logging.getLogger(__name__)

# A pod whose containers are only being created is told of after so long; most run by then and save a write.
LAZY_SECONDS = 0.4
RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 10.0


class _Written(Object):
    """A pod, of which nothing is read but that it is there."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Pod")
    status: msgspec.Raw = msgspec.Raw(b"{}")


class StatusWriter:
    """The status of one pod on its way to the API server.

    Args:
        uid: the pod's; empty while the API server has none (a static pod without its mirror).
        written: the status as the API server has it.
    """

    def __init__(self, client: Client, key: Key, uid: str, written: Json, *, clock: Clock) -> None:
        self.uid = uid
        self._client = client
        self._key = key
        self._clock = clock
        self._written = written
        self._wanted: Json | None = None
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def set(self, status: Json, *, lazy: bool = False) -> None:
        """Want this status written; `lazy`: it may wait a moment for a better one."""
        if not status_patch(self._written, status):
            self._wanted = None
            return
        self._wanted = status
        self._idle.clear()
        self._changed.set()
        if not lazy:
            self._urgent.set()

    def adopt(self, uid: str, written: Json) -> None:
        """The API server has the pod under this uid, with this status."""
        self.uid, self._written = uid, written
        self._changed.set()

    async def flush(self) -> None:
        """Return once the newest status is written, or can no longer be."""
        self._urgent.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Write what is wanted, for ever."""
        pause = RETRY_SECONDS
        while True:
            if self._wanted is None or not self.uid:
                self._idle.set()
                self._changed.clear()
                await self._changed.wait()
            if not self._urgent.is_set():
                await wait_or(self._clock, LAZY_SECONDS, self._urgent)
            self._urgent.clear()
            try:
                await self._write()
                pause = RETRY_SECONDS
            except ApiError as error:
                log.info("pod status not written", extra={"pod": str(self._key), "error": str(error)})
                await self._clock.sleep(pause)
                pause = min(pause * 2, MAX_RETRY_SECONDS)

    async def _write(self) -> None:
        status, self._wanted = self._wanted, None
        if status is None or not self.uid:
            return
        patch = status_patch(self._written, status)
        if not patch:
            return
        body: Json = {"metadata": {"uid": self.uid}, "status": patch}
        before, self._written = self._written, {**self._written, **status}
        try:
            await self._client.patch(_Written, self._key, body, how=Patch.STRATEGIC, subresource="status")
        except (NotFound, Conflict):
            # The pod is gone, or another of its name has come: nobody is left to tell.
            self.uid = ""
            return
        except ApiError:
            self._written, self._wanted = before, self._wanted or status
            raise
