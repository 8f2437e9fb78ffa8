"""A simulated node gives each of its pods an address of its own range."""

from ipaddress import IPv4Network

from kobune.api.objects.meta import Key
from kobune.node.simulator.nodes import SimNode


def node(pods: str = "10.244.3.0/24") -> SimNode:
    return SimNode("n", "10.224.0.4", IPv4Network(pods), "")


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
