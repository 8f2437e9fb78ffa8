"""What the runtime has, by pod: kept true by the runtime's events, with a slow relist as the safety net."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.node.runtime.runtime import Container, Runtime, RuntimeFailure, Sandbox

log = logging.getLogger(__name__)

# Labels and annotations as upstream's kubelet writes them, so that either can adopt the other's containers.
POD_NAME, POD_NAMESPACE, POD_UID = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"

RETRY_SECONDS = 1.0  # After the event stream broke.


class PodState(NamedTuple):
    """A pod's sandboxes and containers in the runtime, each newest first."""

    sandboxes: Sequence[Sandbox] = ()
    containers: Sequence[Container] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    def current(self, name: str) -> Container | None:
        """The newest container of this name in the newest sandbox."""
        if not self.sandboxes:
            return None
        newest = self.sandboxes[0].id
        return next((each for each in self.containers if each.name == name and each.sandbox_id == newest), None)

    def newest(self, name: str) -> Container | None:
        """The newest container of this name, in whatever sandbox."""
        return next((each for each in self.containers if each.name == name), None)

    def all_of(self, name: str) -> list[Container]:
        return [each for each in self.containers if each.name == name]


class RuntimeState:
    """The runtime's sandboxes and containers that belong to pods.

    Args:
        on_change: told the uid of a pod whose state has changed.
    """

    def __init__(
        self, runtime: Runtime, on_change: Callable[[str], None], *, clock: Clock, relist_seconds: float
    ) -> None:
        self.healthy_at: float | None = None  # When the last relist succeeded, by the monotonic clock.
        self._runtime = runtime
        self._on_change = on_change
        self._clock = clock
        self._relist_seconds = relist_seconds
        self._sandboxes: dict[str, dict[str, Sandbox]] = {}  # By uid, by id.
        self._containers: dict[str, dict[str, Container]] = {}
        self._owners: dict[str, str] = {}  # uid by sandbox or container id.
        # Ids whose state was read while a relist was under way: what the relist says of them may be older.
        self._fresher: set[str] | None = None

    def pod(self, uid: str) -> PodState:
        """What is known of the pod."""
        sandboxes = sorted(
            self._sandboxes.get(uid, {}).values(), key=lambda each: (each.attempt, each.created), reverse=True
        )
        containers = sorted(
            self._containers.get(uid, {}).values(), key=lambda each: (each.created, each.attempt), reverse=True
        )
        return PodState(sandboxes, containers)

    def uids(self) -> set[str]:
        """The pods that have a sandbox or a container."""
        return {uid for kind in (self._sandboxes, self._containers) for uid, items in kind.items() if items}

    def owner(self, container_id: str) -> str:
        """The uid of the pod that the container or sandbox belongs to; empty when unknown."""
        return self._owners.get(container_id, "")

    def containers(self) -> list[Container]:
        return [each for items in self._containers.values() for each in items.values()]

    async def refresh_container(self, container_id: str) -> Container | None:
        """Read one container's state again."""
        container = await self._runtime.find_container(container_id)
        self._touch(container_id)
        if container is None:
            self._forget(container_id)
        else:
            self._put_container(container)
        return container

    async def refresh_sandbox(self, sandbox_id: str) -> Sandbox | None:
        """Read one sandbox's state again."""
        sandbox = await self._runtime.find_sandbox(sandbox_id)
        self._touch(sandbox_id)
        if sandbox is None:
            self._forget(sandbox_id)
        else:
            self._put_sandbox(sandbox)
        return sandbox

    def forget(self, identity: str) -> None:
        """A container or sandbox has been removed."""
        self._touch(identity)
        self._forget(identity)

    async def relist(self) -> None:
        """Read everything; tells of every pod that differs from what was known."""
        self._fresher = set()
        try:
            sandboxes = await self._runtime.list_sandboxes()
            containers = await self._runtime.list_containers()
            fresher = self._fresher
        finally:
            self._fresher = None
        present = {each.id for each in sandboxes} | {each.id for each in containers}
        for identity in [each for each in self._owners if each not in present and each not in fresher]:
            self._forget(identity)
        for sandbox in sandboxes:
            if sandbox.id not in fresher:
                self._put_sandbox(sandbox)
        for container in containers:
            if container.id not in fresher:
                self._put_container(container)
        self.healthy_at = self._clock.monotonic()

    async def keep_listing(self) -> None:
        """Relist now and then, for ever."""
        while True:
            await self._clock.sleep(self._relist_seconds)
            try:
                await self.relist()
            except (RuntimeFailure, TimeoutError) as error:
                log.warning("relist failed", extra={"error": str(error)})

    async def follow_events(self) -> None:
        """Learn of starts and exits as they happen, for ever."""
        while True:
            try:
                async for event in self._runtime.events():
                    if event.container_id:
                        await self.refresh_container(event.container_id)
                    else:
                        await self.refresh_sandbox(event.sandbox_id)
                failure = "ended"
            except (RuntimeFailure, TimeoutError) as error:
                failure = str(error)
            log.warning("runtime events interrupted", extra={"error": failure})
            await self._clock.sleep(RETRY_SECONDS)
            with suppress(RuntimeFailure, TimeoutError):
                await self.relist()  # What happened meanwhile was told to nobody.

    def _touch(self, identity: str) -> None:
        if self._fresher is not None:
            self._fresher.add(identity)

    def _put_container(self, container: Container) -> None:
        uid = container.labels.get(POD_UID, "")
        if not uid:
            return
        known = self._containers.setdefault(uid, {})
        before = known.get(container.id)
        known[container.id] = container
        self._owners[container.id] = uid
        if before is None or before[4:] != container[4:]:
            self._on_change(uid)

    def _put_sandbox(self, sandbox: Sandbox) -> None:
        uid = sandbox.uid or sandbox.labels.get(POD_UID, "")
        if not uid:
            return
        known = self._sandboxes.setdefault(uid, {})
        before = known.get(sandbox.id)
        # Lists carry no addresses; what a status said of them stays true while the sandbox is ready.
        if before is not None and sandbox.ready and not sandbox.ips:
            sandbox = sandbox._replace(ips=before.ips)
        known[sandbox.id] = sandbox
        self._owners[sandbox.id] = uid
        if before is None or before.ready != sandbox.ready:
            self._on_change(uid)

    def _forget(self, identity: str) -> None:
        uid = self._owners.pop(identity, "")
        if not uid:
            return
        for kind in (self._sandboxes, self._containers):
            items = kind.get(uid)
            if items is not None:
                items.pop(identity, None)
                if not items:
                    del kind[uid]
        self._on_change(uid)
