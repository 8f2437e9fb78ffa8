"""One node in virtual time: the real API server over the memory store, the simulated runtime, and a kubelet."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.clock import Clock, SystemClock
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.kubelet import Kubelet
from kobune.node.kubelet.machine import Machine
from kobune.node.kubelet.volumes.mounts import PlainMounter
from kobune.node.runtime.simulated import Behaviour, SimulatedRuntime
from kobune.testing.virtual import VirtualClock, run_virtual

Json = dict[str, Any]
# No controllers run here, so nothing makes service accounts or waits for the default namespaces.
# Without PodResizeValidator: what an API server does not refuse, a kubelet has to judge.
API = ApiServerConfig(disabled_admission_plugins=("ServiceAccount", "PodResizeValidator"), serve_bootstrap=False)
MACHINE = Machine("amd64", "6.1.0", "Debian GNU/Linux 12 (bookworm)", "machine", "system", "boot")


async def in_place(call: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """Virtual time does not wait for threads."""
    return call(*args, **options)


class World:
    """A cluster of one node."""

    def __init__(
        self, client: Client, runtime: Any, config: KubeletConfig, clock: Clock, make_kubelet: "MakeKubelet"
    ) -> None:
        self.client, self.runtime, self.config, self.clock = client, runtime, config, clock
        self._make_kubelet = make_kubelet
        self.kubelet: Kubelet | None = None
        self._task: asyncio.Task[None] | None = None

    def start_kubelet(self) -> None:
        self.kubelet = self._make_kubelet(self)
        self._task = asyncio.create_task(self.kubelet.run())

    async def stop_kubelet(self) -> None:
        """As `kill -9` would: nothing is cleaned up."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def call(
        self, method: str, path: str, body: Json | None = None, content_type: str = "application/json"
    ) -> Json:
        raw = orjson.dumps(body) if body is not None else b""
        answer: Json = orjson.loads(await self.client.call(method, path, body=raw, content_type=content_type))
        return answer

    async def pod(self, name: str) -> Json:
        return await self.call("GET", f"/api/v1/namespaces/default/pods/{name}")

    async def create(self, name: str, **spec: Any) -> Json:
        return await self.call("POST", "/api/v1/namespaces/default/pods", pod(name, **spec))

    async def delete(self, name: str, grace: int | None = None) -> None:
        body: Json = {} if grace is None else {"gracePeriodSeconds": grace}
        await self.call("DELETE", f"/api/v1/namespaces/default/pods/{name}", body)

    async def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of the events about an object."""
        items = (await self.call("GET", "/api/v1/events"))["items"]
        return [(it["reason"], it["message"]) for it in items if it["involvedObject"]["name"] == name]

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float = 600) -> Any:
        """The first true answer of the condition."""
        async with asyncio.timeout(seconds):
            while not (answer := await condition()):
                await self.clock.sleep(0.05)
        return answer

    async def until_pod(self, name: str, condition: Callable[[Json], Any], seconds: float = 600) -> Json:
        """The pod, once it fits."""

        async def look() -> Json | None:
            found = await self.pod(name)
            return found if condition(found) else None

        try:
            found: Json = await self.until(look, seconds)
        except TimeoutError:
            raise AssertionError(f"still {orjson.dumps((await self.pod(name))['status']).decode()}") from None
        return found

    async def until_pod_if_any(self, name: str, condition: Callable[[Json], Any], seconds: float = 600) -> Json:
        """The pod, once there is one and it fits."""

        async def look() -> Json | None:
            items = (await self.call("GET", "/api/v1/namespaces/default/pods"))["items"]
            found = next((it for it in items if it["metadata"]["name"] == name), None)
            return found if found is not None and condition(found) else None

        answer: Json = await self.until(look, seconds)
        return answer

    async def until_gone(self, name: str, seconds: float = 600) -> None:
        async def look() -> bool:
            items = (await self.call("GET", "/api/v1/namespaces/default/pods"))["items"]
            return all(it["metadata"]["name"] != name for it in items)

        await self.until(look, seconds)


MakeKubelet = Callable[[World], Kubelet]


def playing_kubelet(world: World) -> Kubelet:
    """A kubelet that changes nothing on the machine."""
    return Kubelet(
        world.client,
        world.runtime,
        world.config,
        clock=world.clock,
        mounter=PlainMounter(),
        machine=MACHINE,
        offload=in_place,
    )


@pytest.fixture
def make_world() -> Callable[[ApiServer, Any, KubeletConfig, MakeKubelet], World]:
    """For tests that bring their own runtime."""
    return lambda server, runtime, config, make: World(
        Client(LocalTransport(server, MASTER)), runtime, config, SystemClock(), make
    )


def pod(name: str, **spec: Any) -> Json:
    """A pod bound to the node; one container `main` unless the spec says otherwise."""
    containers = spec.pop("containers", None) or [{"name": "main", "image": "app:1"} | spec.pop("main", {})]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **spec.pop("metadata", {})},
        "spec": {"nodeName": "node-1", "containers": containers, **spec},
    }


@asynccontextmanager
async def world_of(
    root: Path, behaviours: Mapping[str, Behaviour], *, clock: Clock | None = None, **config: Any
) -> AsyncIterator[World]:
    clock = clock or VirtualClock()
    runtime = SimulatedRuntime(clock, behaviours=behaviours)
    server = ApiServer(API, MemoryStore(), clock=clock, source=random.Random(1))
    settings: Json = {"manage_cgroups": False, "addresses": [("InternalIP", "10.224.0.4"), ("Hostname", "node-1")]}
    async with server:
        kubelet_config = KubeletConfig("node-1", root_dir=root, **settings | config)
        world = World(Client(LocalTransport(server, MASTER)), runtime, kubelet_config, clock, playing_kubelet)
        for name in ("default", "kube-node-lease"):
            await world.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        world.start_kubelet()
        try:
            yield world
        finally:
            await world.stop_kubelet()


Story = Callable[[World], Awaitable[None]]
Tell = Callable[..., None]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """Runs a story on a fresh node in virtual time."""

    def run(story: Story, behaviours: Mapping[str, Behaviour] | None = None, **config: Any) -> None:
        async def whole() -> None:
            async with world_of(tmp_path, behaviours or {}, **config) as world:
                await story(world)

        run_virtual(whole())

    return run


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A node in real time, for what needs sockets."""
    async with world_of(tmp_path, {}, clock=SystemClock()) as world:
        yield world
