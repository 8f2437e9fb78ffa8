"""Simulated nodes' own affairs: their registration, their heartbeats and their pods' addresses."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.coordination import Lease
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_micro, format_time
from kobune.client.client import Client

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40  # Source: upstream kubelet, nodeLeaseDurationSeconds.
RENEW_SECONDS = 10.0  # A quarter of it, as upstream renews.
STATUS_SECONDS = 300.0  # Source: upstream kubelet, nodeStatusReportFrequency.
TICK_SECONDS = 0.1
ENDPOINT = "kobune.local/kubelet-endpoint"
AT_ONCE = 32  # Requests under way; more would only wait inside the server.

# Type, status, reason, message. Source: upstream kubelet, nodestatus setters.
CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


@dataclass(slots=True)
class SimNode:
    """What the simulator remembers of a node, and no more: there are thousands.

    Args:
        pods: the addresses that its pods get, as numbers, the network's own and the broadcast address among them; may be empty.
        used: offsets in it that are given away, by pod.
    """

    name: str
    address: str
    pods: range
    since: str  # When it became Ready, as the API writes it.
    has_lease: bool = False
    used: dict[Key, int] = field(default_factory=dict)
    _next: int = 2  # The network's own address and the bridge's come before.

    def address_for(self, pod: Key) -> str:
        """The pod's address, the same as long as it lives; the node's own when the range is exhausted."""
        offset = self.used.get(pod)
        if offset is None:
            offset = self._free_offset()
            if offset is None:
                return self.address
            self.used[pod] = offset
        number = self.pods[offset]
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def keep_address(self, pod: Key, address: str) -> None:
        """The pod has this address already."""
        number = int(IPv4Address(address))
        if number in self.pods and pod not in self.used:
            self.used[pod] = number - self.pods.start

    def release(self, pod: Key) -> None:
        self.used.pop(pod, None)

    def _free_offset(self) -> int | None:
        """Round and round, so that an address rests before it is given again."""
        size = len(self.pods) - 1
        taken = set(self.used.values())
        for _ in range(size):
            offset, self._next = self._next, self._next + 1 if self._next + 1 < size else 2
            if offset not in taken:
                return offset
        return None


async def register(
    client: Client, manifests: Iterable[Json], clock: Clock, *, endpoint: str, joined: Callable[[SimNode], None]
) -> None:
    """Create the Node objects, Ready at once; one that exists already gets its status anew.

    Args:
        manifests: Node objects with spec.podCIDR, status.addresses, capacity, allocatable and nodeInfo; taken one
            by one, so that a generator need never hold all.
        endpoint: HOST:PORT of the server that answers for their kubelets; "" is none.
        joined: told of each node when it is there.
    """
    source = iter(manifests)

    async def work() -> None:
        for manifest in source:
            joined(await _register(client, manifest, clock, endpoint))

    await together([work() for _ in range(AT_ONCE)])


async def _register(client: Client, manifest: Json, clock: Clock, endpoint: str) -> SimNode:
    moment = format_time(clock.now())
    meta, status = manifest["metadata"], manifest.get("status", {})
    annotations = meta.get("annotations", {}) | ({ENDPOINT: endpoint} if endpoint else {})
    status = status | {"conditions": conditions(moment, moment)}
    manifest = manifest | {"metadata": meta | {"annotations": annotations}, "status": status}
    try:
        await client.add(Node, manifest)
    except AlreadyExists:
        await client.change(Node, Key("", meta["name"]), {"metadata": {"annotations": annotations}})
        await client.change(Node, Key("", meta["name"]), {"status": status}, subresource="status")
    addresses = {each["type"]: each["address"] for each in status.get("addresses", [])}
    pods = addresses_in(manifest.get("spec", {}).get("podCIDR", ""))
    return SimNode(meta["name"], addresses.get("InternalIP", ""), pods, moment)


def addresses_in(cidr: str) -> range:
    """The addresses of a network, as numbers; none of ""."""
    if not cidr:
        return range(0)
    address, _, length = cidr.partition("/")
    size = 1 << (32 - int(length))
    first = int(IPv4Address(address)) & -size
    return range(first, first + size)


def conditions(heartbeat: str, since: str) -> list[Json]:
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": since,
        }
        for kind, status, reason, message in CONDITIONS
    ]


async def keep_alive(client: Client, nodes: dict[str, SimNode], clock: Clock, rng: random.Random) -> None:
    """Renew every node's Lease each RENEW_SECONDS and its status each STATUS_SECONDS, evenly spread. A task's body."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_round(nodes, RENEW_SECONDS, clock, rng, lambda node: _renew(client, node, clock)))
        tasks.create_task(_round(nodes, STATUS_SECONDS, clock, rng, lambda node: _report(client, node, clock)))


async def _round(
    nodes: dict[str, SimNode],
    period: float,
    clock: Clock,
    rng: random.Random,
    call: Callable[[SimNode], Coroutine[Any, Any, None]],
) -> None:
    """Call for each node once per period; a slow server slows the round instead of piling up requests."""
    while True:
        # A new round in a new order: no two nodes stay neighbours.
        ring = list(nodes)
        rng.shuffle(ring)
        began, done = clock.monotonic(), 0
        while True:
            # Few nodes leave long pauses, in which nobody need be woken.
            next_due = began + period * done / max(len(ring), 1)
            await clock.sleep(max(TICK_SECONDS, next_due - clock.monotonic()))
            passed = (clock.monotonic() - began) / period
            due = min(len(ring), int(len(ring) * passed) + 1)
            for start in range(done, due, AT_ONCE):
                batch = [nodes[name] for name in ring[start : min(start + AT_ONCE, due)] if name in nodes]
                await together([call(node) for node in batch])
            done = due
            if passed >= 1.0:
                break


async def _renew(client: Client, node: SimNode, clock: Clock) -> None:
    moment = format_micro(clock.now())
    try:
        if node.has_lease:
            await client.change(Lease, Key(LEASE_NAMESPACE, node.name), {"spec": {"renewTime": moment}})
        else:
            await _create_lease(client, node, moment)
    except NotFound:
        node.has_lease = False  # Made anew in the next round.
    except ApiError:
        return  # The next round comes soon; a server that is away hears from us often enough.


async def _create_lease(client: Client, node: SimNode, moment: str) -> None:
    spec = {"holderIdentity": node.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": moment}
    try:
        await client.add(Lease, {"metadata": {"name": node.name, "namespace": LEASE_NAMESPACE}, "spec": spec})
    except AlreadyExists:
        await client.change(Lease, Key(LEASE_NAMESPACE, node.name), {"spec": spec})
    node.has_lease = True


async def _report(client: Client, node: SimNode, clock: Clock) -> None:
    try:
        status = {"conditions": conditions(format_time(clock.now()), node.since)}
        await client.change(Node, Key("", node.name), {"status": status}, subresource="status")
    except ApiError:
        return


async def together(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each)
