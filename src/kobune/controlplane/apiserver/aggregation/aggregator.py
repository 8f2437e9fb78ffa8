"""Follows the APIServices: registers this server's own versions, and keeps an eye on those that others answer.

Source: upstream kube-aggregator, pkg/controllers (autoregister, status) and pkg/controlplane/controller/crdregistration.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import GROUP_PRIORITY, group_priority, version_priority
from kobune.api.errors import AlreadyExists, ApiError, Json
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.aggregation.forwarding import Forwarder
from kobune.controlplane.apiserver.aggregation.remote import (
    LOCAL,
    PASSED,
    Condition,
    Remote,
    condition_of,
    judge_service,
    remote_of,
    with_condition,
)
from kobune.controlplane.apiserver.openapi.merging import Description
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.create import create
from kobune.controlplane.apiserver.registry.update import change, counted
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.services.endpoints import slices_of
from kobune.controlplane.store.contract import Conflict, Unavailable
from kobune.controlplane.store.selection import Selection

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

log = logging.getLogger(__name__)

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"  # Built-in versions are registered once, custom ones come and go.
LOOK_SECONDS = 1.0  # Between looks at the Services; nothing goes over the network.
CHECK_AGAIN_SECONDS = 30.0  # Of a server that answered. Source: upstream, the controller's resync.
LONGEST_PAUSE_SECONDS = 10.0  # Of one that did not, after doubling.


@dataclass(slots=True)
class Watched:
    """A remote and when its server is asked next, on the clock that never goes back."""

    remote: Remote
    due: float = 0.0
    pause: float = LOOK_SECONDS


class Aggregator:
    """`load` before the server is ready, `run` as long as it lives."""

    def __init__(self, registry: "Registry", forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        self.remotes: dict[tuple[str, str], Remote] = {}
        self.generation = 0  # Counts changes of what is discovered.
        self._registry = registry
        self._kind = registry.builtin("apiregistration.k8s.io", "v1", "APIService")
        self._watched: dict[str, Watched] = {}
        self._some = asyncio.Event()

    async def load(self) -> None:
        """What others answer already."""
        cache = await self._registry.cache(self._kind)
        self._take([orjson.loads(item.body) for item in cache.list()])

    def remote_of_path(self, path: str) -> Remote | None:
        """Who answers a path that names no resource: a version's own, or its OpenAPI document."""
        match path.rstrip("/").removeprefix("/openapi/v3").split("/"):
            case ["", "apis", group, version]:
                return self.remotes.get((group, version))
        return None

    def descriptions(self) -> list[Description]:
        """What the others say of their versions in OpenAPI v2."""
        return [
            Description(f"/apis/{group}/{version}/", one.swagger)
            for (group, version), one in sorted(self.remotes.items())
            if one.swagger
        ]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="API services")
            tasks.create_task(self._keep_registered(), name="registration of API versions")
            while True:
                await self._some.wait()
                for watched in list(self._watched.values()):
                    await self._look(watched)
                await self._registry.clock.sleep(LOOK_SECONDS)

    async def _follow(self) -> None:
        while True:
            cache = await self._registry.cache(self._kind)
            revision = cache.revision
            found: list[Json] = [orjson.loads(item.body) for item in cache.list()]
            self._take(found)
            for one in found:
                await self._settle_local(one)
            with cache.watch(Selection(), after=revision) as watcher:
                async for batch in watcher:
                    for frame in batch:
                        event = orjson.loads(frame)
                        if event["type"] in ("ADDED", "MODIFIED"):
                            await self._settle_local(event["object"])
                    self._take([orjson.loads(item.body) for item in cache.list()])

    def _take(self, api_services: list[Json]) -> None:
        """Know these remotes and no others; what was found out about them stays unless they are others now."""
        fresh = {one.name: one for one in map(remote_of, api_services) if one is not None}
        for name in self._watched.keys() - fresh.keys():
            gone = self._watched.pop(name).remote
            self.remotes.pop((gone.group, gone.version), None)
            self.generation += 1
        for name, remote in fresh.items():
            known = self._watched.get(name)
            if known is not None:
                old = known.remote
                remote.resources, remote.openapi, remote.swagger = old.resources, old.openapi, old.swagger
                if remote == old:
                    continue
                known.remote, known.due = remote, 0.0
            else:
                self._watched[name] = Watched(remote)
            self.remotes[remote.group, remote.version] = remote
            self.generation += 1
        if self._watched:
            self._some.set()
        else:
            self._some.clear()

    async def _look(self, watched: Watched) -> None:
        """Judge one remote, by its Service every time, by its answers when they are due."""
        remote = watched.remote
        service = await self._registry.find(
            self._registry.builtin("", "v1", "Service"), remote.namespace, remote.service
        )
        slices = await slices_of(self._registry, remote.namespace, remote.service)
        condition = judge_service(remote, service, slices)
        now = self._registry.clock.monotonic()
        if condition is not None:
            watched.due, watched.pause = 0.0, LOOK_SECONDS
        elif now < watched.due:
            return
        else:
            condition = await self._ask(remote)
            good = condition[0] == "True"
            watched.pause = LOOK_SECONDS if good else min(LONGEST_PAUSE_SECONDS, watched.pause * 2)
            watched.due = now + (CHECK_AGAIN_SECONDS if good else watched.pause)
        if remote.available != (condition[0] == "True"):
            remote.available = not remote.available
            self.generation += 1
        await self._say(remote.name, condition)

    async def _ask(self, remote: Remote) -> Condition:
        """Whether it answers, and with what resources."""
        path = f"/apis/{remote.group}/{remote.version}" if remote.group else f"/api/{remote.version}"
        try:
            found = orjson.loads(await self.forwarder.get(remote, path))
            resources = [one for one in found.get("resources") or () if isinstance(one, dict) and one.get("name")]
        except (ValueError, AttributeError) as error:
            return "False", "FailedDiscoveryCheck", str(error)
        try:
            index = orjson.loads(await self.forwarder.get(remote, "/openapi/v3"))
            openapi = str(index["paths"][path[1:]]["serverRelativeURL"])
        except (ValueError, KeyError, TypeError):
            openapi = ""  # It need not have any.
        try:
            swagger = await self.forwarder.get(remote, "/openapi/v2")
        except ValueError:
            swagger = b""
        if (resources, openapi, swagger) != (list(remote.resources), remote.openapi, remote.swagger):
            remote.resources, remote.openapi, remote.swagger = resources, openapi, swagger
            self.generation += 1
        return PASSED

    async def _settle_local(self, api_service: Json) -> None:
        if remote_of(api_service) is None and condition_of(api_service) != LOCAL:
            await self._say(api_service["metadata"]["name"], LOCAL)

    async def _say(self, name: str, condition: Condition) -> None:
        """Write the condition, unless it is there."""
        item = await self._registry.find_item(self._kind, "", name)
        if item is None or condition_of(orjson.loads(item.body)) == condition:
            return
        now = format_time(self._registry.clock.now())

        async def write(old: Json) -> Json:
            return with_condition(old, condition, now)

        call = Call(self._kind, "", name, MASTER, self._registry.clock.now(), subresource="status", verb="update")
        try:
            await change(self._registry, call, write, prepare=counted, checks=False)
        except (ApiError, Conflict, Unavailable) as error:
            log.info("APIService's status not written", extra={"name": name, "error": str(error)})

    async def _keep_registered(self) -> None:
        """Have an APIService for each version that this server answers."""
        changed = asyncio.Event()
        self._registry.catalogue.listeners.append(changed.set)
        while True:
            changed.clear()
            try:
                await self._register()
            except (ApiError, Conflict, Unavailable) as error:
                log.warning("API versions not registered: %s", error)
                changed.set()
            await self._registry.clock.sleep(LOOK_SECONDS)
            await changed.wait()

    async def _register(self) -> None:
        cache = await self._registry.cache(self._kind)
        served = {(kind.group, kind.version) for kind in self._registry.catalogue if kind.group != self._kind.group}
        wanted = {f"{version}.{group}": (group, version) for group, version in served}
        for name, (group, version) in sorted(wanted.items()):
            if cache.get("", name) is None:
                await self._create(name, group, version)
        for item in cache.list():
            if item.labels.get(AUTOMANAGED) == ALWAYS and item.name not in wanted:
                await self._registry.delete(self._kind, orjson.loads(item.body), expected=item.revision)

    async def _create(self, name: str, group: str, version: str) -> None:
        label = ON_START if group in GROUP_PRIORITY else ALWAYS
        spec: Json = {
            "version": version,
            "groupPriorityMinimum": group_priority(group),
            "versionPriority": version_priority(group, version),
        }
        if group:
            spec["group"] = group
        manifest: Json = {
            "kind": self._kind.name, "apiVersion": self._kind.api_version,
            "metadata": {"name": name, "labels": {AUTOMANAGED: label}}, "spec": spec,
        }  # fmt: skip
        try:
            await create(self._registry, Call(self._kind, "", name, MASTER, self._registry.clock.now()), manifest)
        except AlreadyExists:
            return  # Another server of this cluster was faster.
