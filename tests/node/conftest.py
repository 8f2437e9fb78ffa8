"""Real nodes for tests: their own networks, so that they meet no other cluster on the machine, and nothing left behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from kobune.node.machine.machine import MachineSpec, NodeMachine
from kobune.node.machine.network import Network
from kobune.node.machine.requirements import find_missing

MakeNode = Callable[[int], NodeMachine]


@pytest.fixture
async def make_node(tmp_path: Path) -> AsyncIterator[MakeNode]:
    """Declares node N (1 to 9) of one throw-away cluster; all are destroyed after the test."""
    if missing := find_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(" ".join(missing))
        pytest.skip(" ".join(missing))
    second = 100 + os.getpid() % 100  # Test processes side by side have networks of their own.
    network = Network(f"test-{os.getpid()}", IPv4Network(f"10.{second}.0.0/24"), IPv4Network(f"10.{second}.128.0/17"))
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
