"""Where a Service can be reached: its cluster address need not be reachable from here, its endpoints are."""

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from kobune.api.errors import Json
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Selection

SERVICE_NAME = "kubernetes.io/service-name"


class Unreachable(Exception):
    """No such Service, no such port, or nobody behind it."""


class Endpoint(NamedTuple):
    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def slices_of(registry: Registry, namespace: str, name: str) -> list[Json]:
    """The EndpointSlices of a Service."""
    cache = await registry.cache(registry.builtin("discovery.k8s.io", "v1", "EndpointSlice"))
    return [
        orjson.loads(item.body) for item in cache.list(Selection(namespace)) if item.labels.get(SERVICE_NAME) == name
    ]


def ready_endpoints(slices: list[Json], port_name: str) -> Iterator[Endpoint]:
    """Behind the Service's port of that name."""
    for part in slices:
        ports = [one["port"] for one in part.get("ports") or () if one.get("name", "") == port_name and one.get("port")]
        for endpoint in part.get("endpoints") or ():
            if ports and (endpoint.get("conditions") or {}).get("ready", True):
                yield Endpoint(endpoint["addresses"][0], ports[0])


async def find_endpoint(registry: Registry, namespace: str, name: str, port: int) -> Endpoint:
    """A ready endpoint behind the Service's port. Raises Unreachable."""
    service = await registry.find(registry.builtin("", "v1", "Service"), namespace, name)
    if service is None:
        raise Unreachable(f'service "{name}" not found')
    chosen = next((one for one in service["spec"].get("ports") or () if one["port"] == port), None)
    if chosen is None:
        raise Unreachable(f'no service port {port} found for service "{name}"')
    found = next(ready_endpoints(await slices_of(registry, namespace, name), chosen.get("name", "")), None)
    if found is None:
        raise Unreachable(f'no endpoints available for service "{name}"')
    return found
