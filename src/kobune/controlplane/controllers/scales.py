"""The scale subresource of whatever kind has one, built-in or custom."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from kobune.api.catalogue import KINDS, Resource, version_order
from kobune.api.errors import Json
from kobune.api.objects.meta import Key
from kobune.client.discovery import Discovered, ServedResource, discover
from kobune.controlplane.controllers.controller import Context

DISCOVERY_SECONDS = 60.0  # What is served is asked again no sooner.


@dataclass(slots=True)
class Served:
    """What the server serves, as last seen."""

    found: Discovered = field(default_factory=lambda: Discovered([], []))
    asked: float = float("-inf")


class Scale(NamedTuple):
    """A scale as the server has it, and where."""

    path: str
    content: Json

    @property
    def uid(self) -> str:
        return str(self.content["metadata"].get("uid") or "")

    @property
    def replicas(self) -> int:
        """How many are asked for."""
        return int((self.content.get("spec") or {}).get("replicas") or 0)

    @property
    def counted(self) -> int:
        """How many there are."""
        return int((self.content.get("status") or {}).get("replicas") or 0)

    @property
    def selector(self) -> str:
        return str((self.content.get("status") or {}).get("selector") or "")


async def get_scale(context: Context, resource: Resource, key: Key) -> Scale:
    """Read the scale from the server. Raises ApiError."""
    path = resource.path(key.namespace, key.name, "scale")
    return Scale(path, orjson.loads(await context.client.call("GET", path)))


async def find_resource(context: Context, group: str, kind: str) -> Resource | None:
    """How a kind is served, in the newest stable version of a built-in one; None: it is not. Raises ApiError."""
    rows = [row for row in KINDS if (row.group, row.name) == (group, kind)]
    if rows:
        return min(rows, key=lambda row: version_order(row.version)).resource

    def wanted(each: ServedResource) -> bool:
        return (each.kind, each.resource.group) == (kind, group)

    served = await discovered(context, wanted)
    return next((each.resource for each in served.resources if wanted(each)), None)


async def discovered(context: Context, wanted: Callable[[ServedResource], bool]) -> Discovered:
    """What the server serves, asked anew at most once a minute while something is missed."""
    memory, now = context.own(Served), context.clock.monotonic()
    if not any(map(wanted, memory.found.resources)) and now - memory.asked > DISCOVERY_SECONDS:
        memory.asked = now
        memory.found = await discover(context.client)
    return memory.found
