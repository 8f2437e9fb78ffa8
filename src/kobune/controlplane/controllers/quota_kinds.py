"""Counts objects of any kind that a quota names as `count/PLURAL.GROUP`, custom resources among them.

A kind is watched from the time when the first quota names it; the others cost nothing.
"""

import asyncio
from collections.abc import Callable, Iterable

from kobune.api.catalogue import KINDS, Resource, version_order
from kobune.api.objects.lean import AnyObject
from kobune.client.discovery import discover
from kobune.client.informer import Informer
from kobune.controlplane.controllers.controller import Context

PREFIX = "count/"
DISCOVERY_SECONDS = 60.0  # A kind that is not served is looked for again no sooner.


class OtherKinds:
    """The informers of those kinds, by the quota's name for them."""

    def __init__(self) -> None:
        self._informers: dict[str, Informer[AnyObject]] = {}
        self._to_start: asyncio.Queue[Informer[AnyObject]] = asyncio.Queue()  # Bounded by the number of kinds.
        self._looked = float("-inf")
        self.on_change: Callable[[AnyObject | None, AnyObject | None], None] = lambda _old, _new: None

    async def counts(self, names: Iterable[str], namespace: str, context: Context) -> tuple[dict[str, str], bool]:
        """How many objects of each kind the namespace has; and whether some cannot be told yet."""
        found: dict[str, str] = {}
        missing = False
        for name in names:
            informer = self._informers.get(name) or await self._watch(name, context)
            if informer is None or not informer.has_synced:
                missing = True
            else:
                found[name] = str(informer.index_size("namespace", namespace))
        return found, missing

    async def run(self) -> None:
        """Watch the kinds that are asked for, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                informer = await self._to_start.get()
                tasks.create_task(informer.run(), name=f"quota {informer.resource.plural}")

    async def _watch(self, name: str, context: Context) -> Informer[AnyObject] | None:
        resource = await self._find(name.removeprefix(PREFIX), context)
        if resource is None or name in self._informers:
            return self._informers.get(name)
        informer = Informer(context.client, AnyObject, resource=resource, clock=context.clock, rng=context.rng)
        informer.add_index("namespace", lambda item: (item.namespace,))
        informer.on_change(self.on_change)
        self._informers[name] = informer
        self._to_start.put_nowait(informer)
        return informer

    async def _find(self, name: str, context: Context) -> Resource | None:
        plural, _, group = name.partition(".")
        rows = [kind for kind in KINDS if (kind.plural, kind.group, kind.namespaced) == (plural, group, True)]
        if rows:
            return min(rows, key=lambda kind: version_order(kind.version)).resource
        now = context.clock.monotonic()
        if now - self._looked < DISCOVERY_SECONDS:
            return None
        served = [each.resource for each in (await discover(context.client)).resources]
        wanted = [each for each in served if (each.plural, each.group, each.namespaced) == (plural, group, True)]
        if not wanted:
            self._looked = now
        return wanted[0] if wanted else None
