"""Frees what no Service holds any more: a server may have ended between taking and using it."""

import logging

import orjson

from kobune.api.errors import Json
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.services.allocator import addresses_of, node_ports_of
from kobune.controlplane.store.contract import Conflict, Store, Unavailable

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 180.0
PASSES = 3  # Unused in so many passes, it is lost, not merely about to be used.
PREFIXES = ("/registry/ipaddresses/", "/registry/ranges/servicenodeports/")


class Repair:
    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._unused: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            await self._registry.clock.sleep(INTERVAL_SECONDS)
            try:
                await self.sweep()
            except Unavailable as error:
                log.warning("reservations could not be looked through", extra={"failure": str(error)})

    async def sweep(self) -> None:
        """One pass."""
        cache = await self._registry.cache(self._registry.builtin("", "v1", "Service"))
        used: set[str] = set()
        for item in cache.list():
            service: Json = orjson.loads(item.body)
            used.update(f"{PREFIXES[0]}{address}" for address in addresses_of(service))
            used.update(f"{PREFIXES[1]}{port}" for port in node_ports_of(service))
        seen: dict[str, int] = {}
        for prefix in PREFIXES:
            for entry in (await self._store.list(prefix)).entries:
                if entry.key in used:
                    continue
                seen[entry.key] = self._unused.get(entry.key, 0) + 1
                if seen[entry.key] >= PASSES:
                    del seen[entry.key]
                    try:
                        await self._store.delete(entry.key, expected=entry.revision)
                    except Conflict:
                        continue
        self._unused = seen
