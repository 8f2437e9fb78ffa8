"""Nodes, pods and tables in few words."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import settings

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Node
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.scheduler.configuration import default_configuration
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.pod_info import PodInfo, PodParser
from kobune.controlplane.scheduler.scheduler import Scheduler
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


class Build:
    """Makes API objects from the few fields a test is about."""

    def __init__(self) -> None:
        self.parser = PodParser()
        self._number = itertools.count(1)

    def node(
        self,
        name: str,
        *,
        cpu: str = "4",
        memory: str = "16Gi",
        pods: int = 110,
        more: dict[str, Any] | None = None,
        labels: dict[str, str] | None = None,
        taints: Iterable[dict[str, str]] = (),
        unschedulable: bool = False,
        images: dict[str, int] | None = None,
        **status: Any,
    ) -> Node:
        amounts = {"cpu": cpu, "memory": memory, "pods": str(pods), **(more or {})}
        return msgspec.convert(
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
                "spec": {"taints": list(taints), "unschedulable": unschedulable},
                "status": {
                    "allocatable": amounts,
                    "capacity": amounts,
                    "images": [{"names": [name], "sizeBytes": size} for name, size in (images or {}).items()],
                    **status,
                },
            },
            Node,
        )

    def pod(
        self,
        name: str = "",
        *,
        namespace: str = "default",
        labels: dict[str, str] | None = None,
        requests: dict[str, str] | None = None,
        on: str = "",
        priority: int = 0,
        ports: Iterable[dict[str, Any]] = (),
        image: str = "app",
        metadata: dict[str, Any] | None = None,
        status: dict[str, Any] | None = None,
        containers: list[dict[str, Any]] | None = None,
        **spec: Any,
    ) -> Pod:
        number = next(self._number)
        name = name or f"pod-{number}"
        container = {"name": "c", "image": image, "resources": {"requests": requests or {}}, "ports": list(ports)}
        return msgspec.convert(
            {
                "metadata": {
                    "name": name, "namespace": namespace, "uid": f"uid-{number}", "labels": labels or {},
                    "creationTimestamp": f"2026-01-01T00:00:{number % 60:02}Z", **(metadata or {}),
                },
                "spec": {"containers": containers or [container], "nodeName": on, "priority": priority, **spec},
                "status": status or {},
            },
            Pod,
        )  # fmt: skip

    def info(self, pod: Pod | None = None, **fields: Any) -> PodInfo:
        return self.parser.parse(self.pod(**fields) if pod is None else pod)

    def table(self, *nodes: Node, pods: Iterable[PodInfo] = ()) -> NodeTable:
        table = NodeTable()
        for node in nodes:
            table.put_node(node)
        for pod in pods:
            table.add_pod(pod, pod.node_name)
        return table


class Cluster:
    """An API server with a scheduler, and the few requests that the tests make."""

    def __init__(self, server, features):
        self.client = Client(LocalTransport(server, MASTER))
        config = default_configuration(features)
        self.scheduler = Scheduler(self.client, clock=SystemClock(), rng=random.Random(1), config=config)

    async def post(self, path, manifest):
        return orjson.loads(await self.client.call("POST", path, body=orjson.dumps(manifest)))

    async def node(self, name, *, cpu="4", taints=(), labels=None):
        amounts = {"cpu": cpu, "memory": "16Gi", "pods": "110"}
        await self.post(
            "/api/v1/nodes",
            {
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels or {}},
                "spec": {"taints": list(taints)}, "status": {"capacity": amounts, "allocatable": amounts},
            },
        )  # fmt: skip

    async def pod(self, name, *, cpu="1", **spec):
        container = {"name": "c", "image": "app", "resources": {"requests": {"cpu": cpu}}}
        return await self.post(
            "/api/v1/namespaces/default/pods",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name},
                "spec": {"containers": [container], **spec},
            },
        )

    async def get(self, name):
        return orjson.loads(await self.client.call("GET", f"/api/v1/namespaces/default/pods/{name}"))

    async def until(self, question):
        """What `question` gives once it is true."""
        async with asyncio.timeout(60):
            while not (answer := await question()):
                await asyncio.sleep(0.01)
        return answer

    async def node_of(self, name):
        async def bound():
            return (await self.get(name))["spec"].get("nodeName")

        return await self.until(bound)

    async def condition(self, name):
        async def said():
            conditions = (await self.get(name))["status"].get("conditions") or []
            return next((one for one in conditions if one["type"] == "PodScheduled" and one.get("message")), None)

        return await self.until(said)

    async def event(self, name, reason):
        async def found():
            events = orjson.loads(await self.client.call("GET", "/api/v1/namespaces/default/events"))["items"]
            return next(
                (one for one in events if one["involvedObject"]["name"] == name and one["reason"] == reason), None
            )

        return await self.until(found)


@asynccontextmanager
async def run_cluster(
    features: frozenset[str] = frozenset(), runtime_config: dict[str, bool] | None = None, *, version: str = "1.36"
) -> Any:
    """An API server over the memory store and a scheduler, with these feature gates on."""
    config = ApiServerConfig(
        version,
        authorization_mode=("AlwaysAllow",),
        disabled_admission_plugins=("ServiceAccount", "TaintNodesByCondition"),
        feature_gates=features,
        runtime_config=runtime_config or {},
    )
    async with ApiServer(config, MemoryStore(), clock=SystemClock()) as server:
        cluster = Cluster(server, features)
        running = asyncio.create_task(cluster.scheduler.run())
        yield cluster
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.fixture
def api_cluster() -> Any:
    return run_cluster


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()
