"""Networks between API servers and etcd are cut, and nobody answers: no write is lost, reads are right or refused, all recovers."""

import asyncio
import random
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import orjson
import pytest

from kobune.api.errors import ServiceUnavailable
from kobune.client.transport import Transport

pytestmark = [pytest.mark.real, pytest.mark.etcd, pytest.mark.timeout(300)]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SWITCH = "kobune-cut"
MEMBERS = {f"{SWITCH}-{name}": f"10.253.77.{number}" for number, name in enumerate("abc", 11)}
SERVERS = {f"{SWITCH}-{name}": f"10.253.77.{number}" for number, name in enumerate("xy", 21)}
OURS = "10.253.77.1"  # For the test itself, which sees that members have started.
# Generous: a connection is given up after three seconds without an answer and made anew within one, an election takes two.
RECOVERY_SECONDS = 30.0


def run(command: str, *, inside: str = "") -> None:
    before = ("ip", "netns", "exec", inside) if inside else ()
    subprocess.run([*before, *command.split()], check=True, capture_output=True)


class Network:
    """A switch in a namespace of its own, and a namespace for each member and each API server, plugged into it by a cable."""

    def __init__(self) -> None:
        self._outer = ["kbcut"]  # Our ends of cables.

    def build(self) -> None:
        run(f"ip netns add {SWITCH}")
        run("ip link add switch type bridge", inside=SWITCH)
        run("ip link set switch up", inside=SWITCH)
        run(f"ip link add kbcut type veth peer name ours netns {SWITCH}")
        run(f"ip address add {OURS}/24 dev kbcut")
        run("ip link set kbcut up")
        self.plug("ours")
        for namespace, address in (MEMBERS | SERVERS).items():
            run(f"ip netns add {namespace}")
            run("ip link set lo up", inside=namespace)
            run(f"ip link add etcd type veth peer name {namespace} netns {SWITCH}", inside=namespace)
            run(f"ip address add {address}/24 dev etcd", inside=namespace)
            run("ip link set etcd up", inside=namespace)
            run("nft add table inet cut", inside=namespace)
            run("nft add chain inet cut input { type filter hook input priority 0; }", inside=namespace)
            self.plug(namespace)

    def add_clients(self, namespace: str, subnet: int) -> str:
        """Another cable, from the test to an API server, so that clients reach it whatever is cut; its address there."""
        outer, address = f"kbcut{subnet}", f"10.253.{subnet}.2"
        run(f"ip link add {outer} type veth peer name clients netns {namespace}")
        run(f"ip address add 10.253.{subnet}.1/30 dev {outer}")
        self._outer.append(outer)
        run(f"ip link set {outer} up")
        run(f"ip address add {address}/30 dev clients", inside=namespace)
        run("ip link set clients up", inside=namespace)
        return address

    def plug(self, namespace: str) -> None:
        run(f"ip link set {namespace} up master switch", inside=SWITCH)

    @contextmanager
    def unplugged(self, namespace: str) -> Iterator[None]:
        """Its cable pulled: nothing arrives, nothing is answered, neither way."""
        run(f"ip link set {namespace} down", inside=SWITCH)
        yield
        self.plug(namespace)

    @contextmanager
    def deaf(self, namespace: str, sources: Iterable[str]) -> Iterator[None]:
        """Nothing that comes from these addresses is let in; what goes there arrives, and is done."""
        run(f"nft add rule inet cut input ip saddr {{ {', '.join(sources)} }} drop", inside=namespace)
        yield
        run("nft flush chain inet cut input", inside=namespace)

    def remove(self) -> None:
        # A namespace goes some time after it was deleted, and takes its cables along.
        for outer in self._outer:
            subprocess.run(["ip", "link", "del", outer], check=False, capture_output=True)
        for namespace in (*MEMBERS, *SERVERS, SWITCH):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    try:
        network.build()
        yield network
    finally:
        network.remove()


@pytest.fixture
def members(network: Network, start_members: Callable[..., Any]) -> Any:
    return start_members(
        [f"{address}:2379" for address in MEMBERS.values()],
        [f"{address}:2380" for address in MEMBERS.values()],
        [("ip", "netns", "exec", namespace) for namespace in MEMBERS],
    )


@pytest.fixture
def servers(network: Network, members: Any, start_api_server: Callable[..., Any]) -> Sequence[Any]:
    """One in each namespace, on the three members."""
    return [
        start_api_server(
            *members.flags,
            address=f"{network.add_clients(namespace, 78 + number)}:6443",
            inside=("ip", "netns", "exec", namespace),
        )
        for number, namespace in enumerate(SERVERS)
    ]


@pytest.mark.slow
async def test_a_server_that_is_cut_off(
    network: Network, servers: Sequence[Any], counting: Callable[..., Any], report: Callable[[str], None]
) -> None:
    """The other one goes on; nobody is shown by this one as the present what it knew when it was cut off."""
    dice, longest = random.Random(1), 0.0
    for number, namespace in enumerate(SERVERS):
        async with counting(servers, f"cut-{number}") as counters:
            for cut in (network.unplugged(namespace), network.deaf(namespace, MEMBERS.values())):
                await counters.go_on()
                with cut:
                    assert await counters.go_on(counters.names[1 - number :: 2]) < RECOVERY_SECONDS
                    await asyncio.sleep(dice.uniform(1.0, 8.0))
                longest = max(longest, await counters.go_on())
        assert not counters.expired
    assert longest < RECOVERY_SECONDS
    report(f"an API server that was cut off from etcd serves again after {longest:.1f} s at the latest")


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow)])
async def test_a_member_that_is_cut_off(
    network: Network, servers: Sequence[Any], counting: Callable[..., Any], report: Callable[[str], None], count: int
) -> None:
    """From everybody, or from the API servers alone: they go on with the other members."""
    dice, longest = random.Random(2), 0.0
    async with counting(servers) as counters:
        for namespace in list(MEMBERS)[:count]:
            for cut in (network.unplugged(namespace), network.deaf(namespace, SERVERS.values())):
                await counters.go_on()
                with cut:
                    longest = max(longest, await counters.go_on())
                    await asyncio.sleep(dice.uniform(0.0, 1.0 * count))
    assert not counters.expired
    assert longest < RECOVERY_SECONDS
    report(f"without a member that is cut off writes go on after {longest:.1f} s at the latest")


@pytest.mark.slow
async def test_all_members_are_cut_off(
    network: Network, servers: Sequence[Any], counting: Callable[..., Any], report: Callable[[str], None]
) -> None:
    """What is known is shown to whoever is content with it; all else is refused in time."""
    recoveries, refusals = list[float](), list[float]()
    async with counting(servers) as counters:
        for cuts in (
            [network.unplugged(namespace) for namespace in MEMBERS],
            [network.deaf(namespace, MEMBERS.values()) for namespace in SERVERS],
        ):
            await counters.go_on()
            with all_of(cuts):
                for transport in counters.transports:
                    known = await transport.request("GET", CONFIG_MAPS, query={"resourceVersion": "0"})
                    assert len(orjson.loads(known.body)["items"]) >= len(counters.names)
                refusals += await asyncio.gather(
                    *(
                        seconds_until_refused(transport, method)
                        for transport in counters.transports
                        for method in ("GET", "POST")
                    )
                )
            recoveries.append(await counters.go_on())
    assert not counters.expired
    assert max(refusals + recoveries) < RECOVERY_SECONDS
    report(
        f"without etcd requests are refused after {max(refusals):.1f} s, and served {max(recoveries):.1f} s after that"
    )


@contextmanager
def all_of(cuts: Sequence[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for cut in cuts:
            stack.enter_context(cut)
        yield


async def seconds_until_refused(transport: Transport, method: str) -> float:
    began, body = time.monotonic(), orjson.dumps({"metadata": {"generateName": "a-"}}) if method == "POST" else b""
    try:
        answer = await transport.request(method, CONFIG_MAPS, body=body)
        assert answer.status >= 500, answer
    except ServiceUnavailable:
        pass
    return time.monotonic() - began
