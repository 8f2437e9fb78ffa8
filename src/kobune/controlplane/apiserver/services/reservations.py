"""Addresses and ports, each given to one Service: a key in the store, so that two API servers cannot give out one twice."""

import ipaddress
from collections.abc import Callable
from typing import Protocol

import orjson

from kobune.api.errors import ApiError, Json
from kobune.controlplane.apiserver.minting import Mint
from kobune.controlplane.store.contract import Conflict, Store
from kobune.controlplane.store.encoding import encode

TRIES = 64  # Random picks before the range is searched in order.


class Taken(Exception):
    """Somebody has it; the message is upstream's."""


class RangeFull(ApiError):
    """Nothing is left to take."""


class Range(Protocol):
    """What can be reserved: `name` makes the n-th one's text, `key` and `value` what is stored for it."""

    size: int
    reserved_low: int  # The lowest ones are kept for those who ask for one by name.

    def name(self, position: int) -> str: ...
    def check(self, name: str) -> None: ...
    def key(self, name: str) -> str: ...
    def value(self, name: str, owner: str) -> bytes: ...


class AddressRange:
    """The addresses of one network, as IPAddress objects."""

    def __init__(self, cidr: str, now: Callable[[], str], uid: Callable[[], str]) -> None:
        self._network = ipaddress.ip_network(cidr)
        self._now, self._uid = now, uid
        # Neither the network's address nor the broadcast address.
        self.size = max(self._network.num_addresses - 2, 0)
        # Source: upstream calculateRangeOffset: between 16 and 256, a sixteenth of the range.
        self.reserved_low = 0 if self.size < 16 else min(max(16, self.size // 16), 256)

    @property
    def first(self) -> str:
        """The `kubernetes` Service's own."""
        return self.name(0)

    def name(self, position: int) -> str:
        return str(self._network[position + 1])

    def holds(self, name: str) -> bool:
        address = ipaddress.ip_address(name)
        return address in self._network and address not in (self._network[0], self._network[-1])

    def check(self, name: str) -> None:
        if not self.holds(name):
            raise Taken(
                f"the provided IP ({name}) is not in the valid range. The range of valid IPs is {self._network}"
            )

    def key(self, name: str) -> str:
        return f"/registry/ipaddresses/{name}"

    def value(self, name: str, owner: str) -> bytes:
        namespace, _, service = owner.partition("/")
        family = "IPv4" if self._network.version == 4 else "IPv6"
        address: Json = {
            "kind": "IPAddress",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {
                "name": name, "uid": self._uid(), "creationTimestamp": self._now(),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": family,
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": service}},
        }  # fmt: skip
        return encode(address)


class PortRange:
    """The node ports from `first` to `last`."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self.size = last - first + 1
        # Source: upstream calculateRangeOffset for ports: between 16 and 128, a thirty-second of the range.
        self.reserved_low = 0 if self.size < 16 else min(max(16, self.size // 32), 128)

    def name(self, position: int) -> str:
        return str(self._first + position)

    def check(self, name: str) -> None:
        if not self._first <= int(name) <= self._last:
            raise Taken(
                f"provided port is not in the valid range. The range of valid ports is {self._first}-{self._last}"
            )

    def key(self, name: str) -> str:
        return f"/registry/ranges/servicenodeports/{name}"

    def value(self, name: str, owner: str) -> bytes:
        return orjson.dumps({"service": owner})


class Reservations:
    """Reserves and frees in one store."""

    def __init__(self, store: Store, mint: Mint) -> None:
        self._store = store
        self._mint = mint

    async def take(self, range_: Range, name: str, owner: str, *, already: str) -> None:
        """Reserve this one. Raises Taken."""
        range_.check(name)
        try:
            await self._store.write(range_.key(name), range_.value(name, owner), expected=0)
        except Conflict as error:
            raise Taken(already) from error

    async def take_any(self, range_: Range, owner: str) -> str:
        """Reserve one that is free. Raises RangeFull when none is."""
        low = range_.reserved_low
        for _ in range(TRIES if range_.size > low else 0):
            name = range_.name(self._mint.pick(low, range_.size - 1))
            if await self._try(range_, name, owner):
                return name
        for position in [*range(low, range_.size), *range(low)]:
            name = range_.name(position)
            if await self._try(range_, name, owner):
                return name
        raise RangeFull("Internal error occurred: range is full")

    async def is_free(self, range_: Range, name: str) -> bool:
        range_.check(name)
        return await self._store.read(range_.key(name)) is None

    async def free(self, range_: Range, name: str) -> None:
        try:
            await self._store.delete(range_.key(name), expected=None)
        except Conflict:
            return  # Nobody had it.

    async def _try(self, range_: Range, name: str, owner: str) -> bool:
        try:
            await self._store.write(range_.key(name), range_.value(name, owner), expected=0)
        except Conflict:
            return False
        return True
