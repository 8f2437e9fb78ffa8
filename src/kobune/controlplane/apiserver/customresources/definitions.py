"""Follows the CustomResourceDefinitions: settles their names, serves their kinds, and ends them with their objects.

Source: upstream apiextensions-apiserver, pkg/controller (status, establish, finalizer, apiapproval, nonstructuralschema).
"""

import asyncio
import logging
from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import ApiError, Json
from kobune.controlplane.apiserver.customresources import status
from kobune.controlplane.apiserver.customresources.ending import end
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.update import change, counted
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.store.selection import Selection

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class Definitions:
    """`load` before the server is ready, `run` as long as it lives."""

    def __init__(self, registry: "Registry") -> None:
        self._registry = registry
        self._kind = registry.builtin("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
        self._definitions: dict[str, Json] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._revision = 0

    async def load(self) -> None:
        """Serve what is defined already."""
        cache = await self._registry.cache(self._kind)
        self._revision = cache.revision
        found: list[Json] = [orjson.loads(item.body) for item in cache.list()]
        for name in self._definitions.keys() - {one["metadata"]["name"] for one in found}:
            self._gone(self._definitions[name])
        self._definitions = {one["metadata"]["name"]: one for one in found}
        for one in found:
            if status.is_true(one, "Established"):
                self._serve(one)

    async def run(self) -> None:
        """Follow every change, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for definition in list(self._definitions.values()):
                await self._settle(definition, tasks)
            while True:
                cache = await self._registry.cache(self._kind)
                with cache.watch(Selection(), after=self._revision) as watcher:
                    async for batch in watcher:
                        for frame in batch:
                            event = orjson.loads(frame)
                            await self._see(event["type"], event["object"], tasks)
                # The watch has broken off.
                await self.load()
                for definition in list(self._definitions.values()):
                    await self._settle(definition, tasks)

    async def _see(self, event: str, definition: Json, tasks: asyncio.TaskGroup) -> None:
        name = definition["metadata"]["name"]
        self._revision = int(definition["metadata"]["resourceVersion"])
        if event != "DELETED":
            self._definitions[name] = definition
            await self._settle(definition, tasks)
            return
        self._definitions.pop(name, None)
        self._gone(definition)
        # Its names are free for others.
        for other in list(self._definitions.values()):
            if other["spec"]["group"] == definition["spec"]["group"] and not status.is_true(other, "NamesAccepted"):
                await self._settle(other, tasks)

    async def _settle(self, definition: Json, tasks: asyncio.TaskGroup) -> None:
        """Bring the definition's status up to date, serve it, or begin to end it."""
        name = definition["metadata"]["name"]
        others = [one for one in self._definitions.values() if one["metadata"]["name"] != name]
        now = self._registry.clock.now()
        settled = status.settled(definition, others, now)
        if status.is_true(settled, "Established"):
            # Before its status says so: whoever reads that may use the kind at once.
            self._serve(settled)
        if settled != definition:
            self._definitions[name] = settled

            async def write(old: Json) -> Json:
                return status.settled(old, others, now)

            await self._write(name, write)
        if definition["metadata"].get("deletionTimestamp") and status.FINALIZER in (
            definition["metadata"].get("finalizers") or ()
        ):
            served = self._registry.custom.find(definition["spec"]["group"], definition["spec"]["names"]["plural"])
            if served is not None:
                served.is_terminating = True
            if name not in self._ending:
                task = tasks.create_task(self._end(definition), name=f"end of {name}")
                self._ending[name] = task
                task.add_done_callback(lambda _: self._ending.pop(name, None))

    async def _write(self, name: str, write: status.Change) -> None:
        registry = self._registry
        call = Call(self._kind, "", name, MASTER, registry.clock.now(), subresource="status", verb="update")
        try:
            await change(registry, call, write, prepare=counted, checks=False)
        except ApiError as error:  # Most likely it is gone.
            log.info("definition's status not written", extra={"definition": name, "error": str(error)})

    def _serve(self, definition: Json) -> None:
        registry = self._registry
        has_changed = definition["metadata"].get("generation", 1) > 1
        revision = registry.feed.revision if has_changed else 0
        spec = definition["spec"]
        before = registry.custom.find(spec["group"], spec["names"]["plural"])
        if registry.custom.serve(definition, trusted_after=revision) and before is not None:
            # Watches end, so that clients see the objects anew, as upstream does.
            registry.close_cache(before.storage.kind)

    def _gone(self, definition: Json) -> None:
        group, plural = definition["spec"]["group"], definition["spec"]["names"]["plural"]
        served = self._registry.custom.find(group, plural)
        if served is not None:
            self._registry.custom.withdraw(group, plural)
            self._registry.close_cache(served.storage.kind)

    async def _end(self, definition: Json) -> None:
        name = definition["metadata"]["name"]
        while True:
            try:
                await end(self._registry, definition, lambda write: self._write(name, write))
                return
            except ApiError as error:
                log.warning("definition's objects not deleted", extra={"definition": name, "error": str(error)})
            await self._registry.clock.sleep(RETRY_SECONDS)
