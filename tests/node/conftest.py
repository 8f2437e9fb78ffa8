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
from kobune.api.objects.core import Namespace
from kobune.client.client import Client
from kobune.client.transport import Answer
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER, Request
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.node.machine.machine import MachineSpec, NodeMachine
from kobune.node.machine.network import Network
from kobune.node.machine.requirements import find_missing

MakeNode = Callable[[int], NodeMachine]


class InProcess:
    """The Transport to an API server by a call, as its administrator."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def request(self, method, path, *, query=None, body=b"", content_type="", accept="") -> Answer:
        response = await self._server.handle(
            Request(method, path, dict(query or {}), {"content-type": content_type}, body, user=MASTER)
        )
        return Answer(response.status, response.body, response.headers)

    async def stream(self, path, *, query=None) -> AsyncIterator[bytes]:
        response = await self._server.handle(Request("GET", path, dict(query or {}), user=MASTER))
        async for chunk in response.body:
            for frame in chunk.splitlines():
                yield frame

    async def close(self) -> None:
        return None


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of an API server over a store in memory."""
    server = ApiServer(ApiServerConfig(), MemoryStore(), clock=SystemClock())
    async with server:
        client = Client(InProcess(server))
        for name in ("default", "kube-node-lease"):
            with suppress(AlreadyExists):
                await client.create(Namespace, {"metadata": {"name": name}})
        yield client


@pytest.fixture
async def make_node(tmp_path: Path) -> AsyncIterator[MakeNode]:
    """Declares node N (1 to 9) of one throw-away cluster; all are destroyed after the test."""
    if missing := find_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(" ".join(missing))
        pytest.skip(" ".join(missing))
    second = 100 + os.getpid() % 100  # Test processes side by side have networks of their own.
    network = Network(
        f"test-{os.getpid()}",
        IPv4Network(f"10.{second}.0.0/24"),
        IPv4Network(f"10.{second}.128.0/17"),
        IPv4Network(f"10.{second}.1.0/24"),
    )
    nodes: dict[int, NodeMachine] = {}

    def make(number: int) -> NodeMachine:
        spec = MachineSpec(
            network,
            f"node-{number}",
            tmp_path / f"node-{number}",
            IPv4Address(f"10.{second}.0.{number + 3}"),
            IPv4Network(f"10.{second}.{128 + number}.0/24"),
        )
        nodes[number] = NodeMachine(spec)
        return nodes[number]

    try:
        yield make
    finally:
        await asyncio.gather(*(node.destroy() for node in nodes.values()))
