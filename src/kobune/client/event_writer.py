"""What the recorders of both kinds of Event share: what an Event is about, and how it gets to the API server."""

import zlib
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.meta import Key, Object
from kobune.client.client import Client, Patch

# Source: upstream EventCorrelator, and its broadcaster (maxTriesPerEvent, sleepDuration).
CACHED = 4096  # Entries in each memory.
QUEUED = 1000  # Events on their way; more are dropped.
ATTEMPTS, RETRY_SECONDS = 12, 10.0
MESSAGE_LIMIT = 1024  # Characters; the API refuses more.


class Reference(NamedTuple):
    """An object as it was when something happened to it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    revision: str
    field_path: str = ""  # The part of the object meant.

    def json(self) -> Json:
        """The ObjectReference."""
        fields = {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "apiVersion": self.api_version,
            "resourceVersion": self.revision,
            "fieldPath": self.field_path,
        }
        return {name: value for name, value in fields.items() if value}


def reference(about: Object, field_path: str = "") -> Reference:
    """What says which object is meant, in this version of it."""
    meta, gvk = about.metadata, about.gvk
    return Reference(gvk.api_version, gvk.kind, meta.namespace, meta.name, meta.uid, meta.resource_version, field_path)


class EventWriter:
    """Writes Events of one kind in the name of one component, under names that no other Event has."""

    def __init__(self, client: Client, view: type[Object], component: str, clock: Clock) -> None:
        self._client, self._view, self._component, self._clock = client, view, component, clock
        # Sets apart events of one instant, and from the first on those of one component from another's.
        self._number = zlib.crc32(component.encode()) % 1000

    def new_key(self, about: Reference, now: datetime) -> Key:
        """Where an Event about the object goes; about a cluster-scoped one, into the default namespace."""
        self._number += 1
        return Key(about.namespace or "default", f"{about.name}.{int(now.timestamp() * 1e9) + self._number:x}")

    async def write(self, about: Reference, key: Key, manifest: Callable[[Key], Json], change: Json | None) -> Key:
        """Change the Event, or without a change, and when it has expired, make it; again and again while the server is away.

        Returns: the Event's key, another one where `key` was taken.
        Raises:
            ApiError: the server refuses, or stays away.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._send(about, key, manifest, change)
            except ApiError as error:
                if error.code < 500:
                    raise
                await self._clock.sleep(RETRY_SECONDS)
        return await self._send(about, key, manifest, change)

    async def _send(self, about: Reference, key: Key, manifest: Callable[[Key], Json], change: Json | None) -> Key:
        if change is not None:
            try:
                await self._client.change(self._view, key, change, how=Patch.STRATEGIC)
                return key
            except NotFound:
                pass  # It has expired: begin again.
        try:
            await self._client.add(self._view, manifest(key))
        except AlreadyExists:
            # Another component has said something of the same object in the same instant.
            self._number += len(self._component)
            key = self.new_key(about, self._clock.now())
            await self._client.add(self._view, manifest(key))
        return key


def shortened(message: str) -> str:
    """As much of it as the API takes."""
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "..."
