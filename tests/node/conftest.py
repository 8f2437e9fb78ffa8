"""An API server in the test's process, and real nodes in networks of their own, of which nothing is left behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from kobune.api.clock import SystemClock
from kobune.api.errors import AlreadyExists
from kobune.api.objects.core import Namespace, ServiceAccount
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport
from kobune.node.machine.machine import MachineSpec, NodeMachine
from kobune.node.machine.network import Network
from kobune.node.machine.requirements import find_missing

SECOND = 100 + os.getpid() % 100  # Test processes side by side have networks of their own.
SERVICES = f"10.{SECOND}.1.0/24"
MakeNode = Callable[[int], NodeMachine]


@pytest.fixture
def service_range() -> IPv4Network:
    """Where the client's API server takes cluster addresses from."""
    return IPv4Network(SERVICES)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of an API server over a store in memory."""
    server = ApiServer(ApiServerConfig(service_cluster_ip_range=SERVICES), MemoryStore(), clock=SystemClock())
    async with server:
        client = Client(LocalTransport(server, MASTER))
        for name in ("default", "kube-node-lease", "kube-system"):
            with suppress(AlreadyExists):
                await client.create(Namespace, {"metadata": {"name": name}})
        with suppress(AlreadyExists):
            await client.create(ServiceAccount, {"metadata": {"name": "default", "namespace": "default"}})
        yield client


@pytest.fixture
async def make_node(tmp_path: Path) -> AsyncIterator[MakeNode]:
    """Declares node N (1 to 9) of one throw-away cluster; all are destroyed after the test."""
    if missing := find_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(" ".join(missing))
        pytest.skip(" ".join(missing))
    network = Network(
        f"test-{os.getpid()}",
        IPv4Network(f"10.{SECOND}.0.0/24"),
        IPv4Network(f"10.{SECOND}.128.0/17"),
        IPv4Network(SERVICES),
    )
    nodes: dict[int, NodeMachine] = {}

    def make(number: int) -> NodeMachine:
        spec = MachineSpec(
            network,
            f"node-{number}",
            tmp_path / f"node-{number}",
            IPv4Address(f"10.{SECOND}.0.{number + 3}"),
            IPv4Network(f"10.{SECOND}.{128 + number}.0/24"),
        )
        nodes[number] = NodeMachine(spec)
        return nodes[number]

    try:
        yield make
    finally:
        await asyncio.gather(*(node.destroy() for node in nodes.values()))
