"""Stories told in virtual time: a real API server over the memory store, controllers, and nodes as simple as can be."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import orjson
import pytest

from kobune.aks.versions import DEFAULT_VERSION
from kobune.api.catalogue import KINDS, Resource
from kobune.api.errors import ApiError, Conflict, NotFound, ServiceUnavailable, Timeout
from kobune.api.objects.core import Pod
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.client.transport import Answer
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.controllers.manager import ControllerManager
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport
from kobune.testing.virtual import VirtualClock, run_virtual


class CountingTransport(LocalTransport):
    """Notes requests by method and path, and fails as told.

    `faults(method, path)` may give an error to raise instead of the request, or in a tuple, after it.
    """

    def __init__(self, server, user):
        super().__init__(server, user)
        self.log = []
        self.faults = lambda method, path: None
        self.adapters = {}  # Answers of servers that are not ours, as metrics adapters: by path, `(query) -> body`.

    async def request(self, method, path, **rest):
        self.log.append((method, path))
        error = self.faults(method, path)
        if isinstance(error, Exception):
            raise error
        if path in self.adapters:
            return Answer(200, orjson.dumps(self.adapters[path](rest.get("query") or {})), {})
        answer = await super().request(method, path, **rest)
        if error is not None:
            raise error[0]
        return answer


class World:
    """A cluster to tell stories about. Objects go in and come out as JSON."""

    def __init__(self, server, clock, transport):
        self.server, self.clock, self.transport = server, clock, transport
        self.client = Client(LocalTransport(server, MASTER))
        self.ready_after = 1.0  # Seconds from a pod's creation to its being ready; None: never.
        self.finish_after = None  # Seconds from then to its end; None: it runs on.
        self.outcome = lambda pod: "Succeeded"  # How a pod ends: a phase, or (phase, exit code).
        self.manager = None

    def key(self, namespace, name):
        return Key(namespace, name)

    def new_manager(self, controllers, *, seed, faults=None, settings=None, leader_elect=False, identity=""):
        """A manager with a transport of its own, that knows nothing of any before it; the caller runs it."""
        transport = CountingTransport(self.server, MASTER)
        transport.adapters = self.transport.adapters
        if faults is not None:
            transport.faults = faults
        return ControllerManager(
            Client(transport),
            clock=self.clock,
            rng=random.Random(seed),
            controllers=controllers,
            settings=settings or Settings(),
            leader_elect=leader_elect,
            identity=identity,
        )

    async def kill_managers(self, controllers, rng, *, share, until):
        """Managers one after the other, each killed at a random moment and replaced by one that knows nothing; in the end
        one that the caller runs. A `share` of their writes goes wrong."""
        while not until.is_set():
            manager = self.new_manager(controllers, seed=rng.random(), faults=self.unreliable(rng, share))
            running = asyncio.create_task(manager.run())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rng.expovariate(1 / 3.0)):
                    await until.wait()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        return self.new_manager(controllers, seed=1)

    @staticmethod
    def unreliable(rng, share, reads=0.0):
        """Faults for a share of the writes: refused, in conflict, or failed after they were done. And for one of the reads."""

        def faults(method, _path):
            if rng.random() >= (reads if method == "GET" else share):
                return None
            if method == "GET":
                return ServiceUnavailable("the server is busy")
            return rng.choice(
                [
                    ServiceUnavailable("the server is busy"),
                    Conflict("the object has been modified"),
                    (Timeout("the answer was lost"),),
                    (ServiceUnavailable("the connection was closed"),),
                ]
            )

        return faults

    def path(self, plural, namespace="default", name="", subresource=""):
        return resource_of(plural).path(namespace, name, subresource)

    async def create(self, plural, manifest, namespace="default"):
        kind = next(kind for kind in KINDS if kind.plural == plural and kind.resource == resource_of(plural))
        body = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
        return await self._send("POST", self.path(plural, namespace), body)

    async def get(self, plural, name, namespace="default"):
        return await self._send("GET", self.path(plural, namespace, name))

    async def find(self, plural, name, namespace="default"):
        try:
            return await self.get(plural, name, namespace)
        except NotFound:
            return None

    async def list(self, plural, namespace="default", **query):
        body = await self.client.call("GET", self.path(plural, namespace), query=query)
        return orjson.loads(body)["items"]

    async def patch(self, plural, name, patch, namespace="default", subresource=""):
        path = self.path(plural, namespace, name, subresource)
        return await self._send("PATCH", path, patch, content_type="application/merge-patch+json")

    async def delete(self, plural, name, namespace="default", **options):
        await self._send(
            "DELETE", self.path(plural, namespace, name), {"kind": "DeleteOptions", "apiVersion": "v1", **options}
        )

    async def sleep(self, seconds):
        await self.clock.sleep(seconds)

    async def until(self, condition: Callable[[], Awaitable[object]], seconds=60.0):
        """Wait until the condition holds; what it gives, or a failure that shows its last word."""
        deadline = self.clock.monotonic() + seconds
        while True:
            value = await condition()
            if value:
                return value
            assert self.clock.monotonic() < deadline, f"not within {seconds} s: {value!r}"
            await self.sleep(0.05)

    async def _send(self, method, path, body=None, content_type="application/json"):
        data = b"" if body is None else orjson.dumps(body)
        return orjson.loads(await self.client.call(method, path, body=data, content_type=content_type))

    async def run_nodes(self):
        """Every pod becomes ready after a while on the node it names (any), and goes when it is deleted."""
        async with asyncio.TaskGroup() as group:
            pods = Informer(self.client, Pod, clock=self.clock, rng=random.Random(7))
            begun = set()
            count = 0

            def on_change(old, new):
                nonlocal count
                if new is None:
                    return
                if new.is_deleting:
                    group.create_task(self._end(new))
                elif new.uid not in begun and self.ready_after is not None:
                    begun.add(new.uid)
                    count += 1
                    group.create_task(self._start(new.key, f"10.244.{count // 250}.{count % 250 + 1}"))

            pods.on_change(on_change)
            await pods.run()

    async def _start(self, key, address):
        await self.sleep(self.ready_after)
        await self.set_ready(key.name, key.namespace, address=address)
        if self.finish_after is not None:
            await self.sleep(self.finish_after)
            await self.finish(key)

    async def finish(self, key):
        pod = await self.find("pods", key.name, key.namespace)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return
        ended = self.outcome(pod)
        phase, code = ended if isinstance(ended, tuple) else (ended, 0 if ended == "Succeeded" else 1)
        now = format_time(self.clock.now())
        terminated = {"exitCode": code, "finishedAt": now, "startedAt": now}
        status = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}],
            "containerStatuses": [
                {
                    "name": "c",
                    "state": {"terminated": terminated},
                    "ready": False,
                    "restartCount": 0,
                    "image": "i",
                    "imageID": "",
                }
            ],
        }
        with contextlib.suppress(NotFound):
            await self.patch("pods", key.name, {"status": status}, key.namespace, "status")

    async def set_ready(self, name, namespace="default", ready=True, address="10.244.0.9"):
        now = format_time(self.clock.now())
        verdict = {"status": "True" if ready else "False", "lastTransitionTime": now}
        conditions = [{"type": kind, **verdict} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        with contextlib.suppress(NotFound):
            await self.patch("pods", name, {"status": status}, namespace, "status")

    async def _end(self, pod):
        with contextlib.suppress(ApiError):
            await self.delete("pods", pod.name, pod.namespace, gracePeriodSeconds=0)


def resource_of(plural) -> Resource:
    """The stable version before others."""
    found = [kind.resource for kind in KINDS if kind.plural == plural]
    return next((one for one in found if "beta" not in one.version and "alpha" not in one.version), found[0])


async def tell_story(story, controllers, settings, nodes, faults, version, features):
    clock = VirtualClock()
    rng = random.Random(1)
    # No service account controller runs in most stories, and without it no pod would be admitted.
    config = ApiServerConfig(version, features, {"api/alpha": True}, disabled_admission_plugins=("ServiceAccount",))
    async with ApiServer(config, MemoryStore(), clock=clock, source=random.Random(2)) as server:
        transport = CountingTransport(server, MASTER)
        world = World(server, clock, transport)
        for namespace in ("default", "kube-system"):
            with contextlib.suppress(ApiError):
                await world.create("namespaces", {"metadata": {"name": namespace}}, "")
        if faults is not None:
            transport.faults = faults(world)
        async with asyncio.TaskGroup() as group:
            tasks = []
            if controllers is not None:
                world.manager = ControllerManager(
                    Client(transport),
                    clock=clock,
                    rng=rng,
                    controllers=controllers,
                    settings=settings or Settings(),
                )
                tasks.append(group.create_task(world.manager.run()))
            if nodes:
                tasks.append(group.create_task(world.run_nodes()))
            if world.manager is not None:
                await world.manager.started.wait()
            try:
                return await story(world)
            finally:
                for task in tasks:
                    task.cancel()


@pytest.fixture
def tell():
    """tell(story, controllers="*"): the story's result, with those controllers running; None: the story runs its own."""

    def run(
        story,
        controllers="*",
        *,
        settings=None,
        nodes=True,
        faults=None,
        version=DEFAULT_VERSION,
        features=frozenset(),
    ):
        return run_virtual(tell_story(story, controllers, settings, nodes, faults, version, features))

    return run


@pytest.fixture
def key():
    return Key
