"""A simulated node gives each of its pods an address of its own range, and keeps itself alive."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from ipaddress import IPv4Network

import pytest

from kobune.api.objects.coordination import Lease
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.node.simulator.nodes import SimNode, addresses_in, keep_alive
from kobune.testing.virtual import VirtualClock, run_virtual


def node(pods: str = "10.244.3.0/24") -> SimNode:
    return SimNode("n", "10.224.0.4", addresses_in(pods), "")


@pytest.mark.parametrize("cidr", ["10.244.3.0/24", "10.0.0.0/8", "10.244.3.4/32"])
def test_the_addresses_of_a_range_are_those_of_its_network(cidr):
    addresses, network = addresses_in(cidr), IPv4Network(cidr)
    assert (addresses[0], addresses[-1]) == (int(network[0]), int(network[-1]))


def test_a_pod_keeps_its_address():
    one = node()
    assert one.address_for(Key("d", "a")) == one.address_for(Key("d", "a")) == "10.244.3.2"
    assert one.address_for(Key("d", "b")) == "10.244.3.3"


def test_an_address_rests_before_it_is_given_again():
    one = node()
    one.address_for(Key("d", "a"))
    one.release(Key("d", "a"))
    assert one.address_for(Key("d", "b")) == "10.244.3.3"


def test_addresses_known_from_before_are_not_given_again():
    one = node()
    one.keep_address(Key("d", "a"), "10.244.3.2")
    assert one.address_for(Key("d", "b")) == "10.244.3.3"
    assert one.address_for(Key("d", "a")) == "10.244.3.2"


def test_an_exhausted_range_is_shared_with_the_node():
    one = node("10.244.3.0/29")
    given = [one.address_for(Key("d", str(number))) for number in range(6)]
    assert given == ["10.244.3.2", "10.244.3.3", "10.244.3.4", "10.244.3.5", "10.244.3.6", "10.224.0.4"]


class Recorder:
    """A Client that only writes down when it was called, for what."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, type, str]] = []

    async def add(self, view, manifest):
        self._note(view, manifest["metadata"]["name"])

    async def change(self, view, key, patch, *, subresource=""):
        self._note(view, key.name)

    def _note(self, view, name: str) -> None:
        self.calls.append((asyncio.get_running_loop().time(), view, name))


def test_leases_are_renewed_every_ten_seconds_and_evenly():
    names = [str(number) for number in range(200)]

    async def story() -> Recorder:
        client = Recorder()
        nodes = {name: SimNode(name, "", range(0), "") for name in names}
        with suppress(TimeoutError):
            async with asyncio.timeout(99.9):
                await keep_alive(client, nodes, VirtualClock(), random.Random(1))
        return client

    calls = run_virtual(story()).calls
    leases = Counter(name for _, view, name in calls if view is Lease)
    assert set(leases) == set(names)
    assert set(leases.values()) <= {9, 10}
    a_second = Counter(int(when) for when, view, _ in calls if view is Lease)
    assert max(a_second.values()) <= 30  # 20 on average.
    assert len({name for _, view, name in calls if view is Node}) in range(60, 74)  # A third of five minutes.
