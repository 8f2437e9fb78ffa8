"""The networks that Services get their addresses from: the one of the flag, and those of ServiceCIDRs that are ready.

Source: upstream pkg/registry/core/service/ipallocator/cidrallocator.go.
"""

import ipaddress
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import Json
from kobune.controlplane.apiserver.services.reservations import AddressRange

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

GROUP, VERSION, KIND = "networking.k8s.io", "v1", "ServiceCIDR"


class AddressRanges:
    """`first` is the range of the flag, which is always there; `make` makes one of a network."""

    def __init__(self, registry: "Registry", first: str, make: Callable[[str], AddressRange]) -> None:
        self._registry = registry
        self._make = make
        self.first = make(first)
        self._own = first
        self._family = ipaddress.ip_network(first).version

    async def ready(self) -> Sequence[AddressRange]:
        """Where addresses may be taken now, the flag's range before all others."""
        kind = self._registry.catalogue.find_kind(GROUP, VERSION, KIND)
        if kind is None:
            return [self.first]
        cache = await self._registry.cache(kind)
        networks = dict.fromkeys(cidr for item in cache.list() for cidr in self._networks(orjson.loads(item.body)))
        return [self.first, *map(self._make, networks)]

    def _networks(self, item: Json) -> list[str]:
        conditions = (item.get("status") or {}).get("conditions") or ()
        is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        if not is_ready or item["metadata"].get("deletionTimestamp"):
            return []
        cidrs: list[str] = item["spec"].get("cidrs") or []
        return [cidr for cidr in cidrs if cidr != self._own and ipaddress.ip_network(cidr).version == self._family]
