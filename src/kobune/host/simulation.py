"""Simulated nodes of a cluster: AKS node shapes handed to the simulator, and one kubelet endpoint for them all."""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from kobune.aks.clusters import Cluster
from kobune.aks.instances import first_instances
from kobune.aks.nodes import NodeShape, allocatable, capacity, node_shape
from kobune.aks.versions import get_version
from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.client.client import Client
from kobune.node.simulator.simulator import Simulator

AT_ONCE = 500
# Where the addresses of nodes that are always there begin, and those of their pods; many nodes go on from there.
NODES, PODS = "10.224.0.0/12", "10.244.0.0/16"
SIMULATED_LABEL = "kobune.local/simulated"
OS_IMAGES = {"Ubuntu2204": "Ubuntu 22.04.5 LTS", "Ubuntu2404": "Ubuntu 24.04.3 LTS"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The simulated nodes that there should be.

    Attributes:
        born: of each node by name, when its machine was last made; one made anew joins the cluster anew.
        shape: of one of these nodes; only asked for those that join.
    """

    born: Mapping[str, float]
    shape: Callable[[str], NodeShape]


async def always(cluster: Cluster) -> AsyncIterator[Wanted]:
    """The nodes that the cluster begins with, once and for all."""
    pools = {pool.name: pool for pool in cluster.pools}
    machines = {machine.name: machine for machine in first_instances(cluster)}

    def shape(name: str) -> NodeShape:
        machine = machines[name]
        return node_shape(cluster, pools[machine.pool], machine, node_cidr=NODES, pod_cidr=PODS)

    yield Wanted(dict.fromkeys(machines, 0.0), shape)


async def simulate(
    client: Client, wanted: AsyncIterator[Wanted], *, clock: Clock, rng: random.Random, tls: ssl.SSLContext | None
) -> None:
    """Be the kubelets of the nodes last asked for until cancelled; with `tls` their logs and exec answer on a loopback port."""
    simulator = Simulator(client, (), clock=clock, rng=rng)
    if tls is None:
        await _simulate(simulator, wanted)
        return
    from kobune.host.sockets import listener

    with listener("127.0.0.1", 0) as sock:
        host, port = sock.getsockname()
        simulator.endpoint = f"{host}:{port}"
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(_serve_when_asked(simulator, sock, tls), name="kubelets' endpoint")
            try:
                await _simulate(simulator, wanted)
            finally:
                serving.cancel()


async def _serve_when_asked(simulator: Simulator, sock: socket.socket, tls: ssl.SSLContext) -> None:
    """Answer for the kubelets from the first connection on, until cancelled.

    Most clusters in tests are never asked for logs, and a general HTTP server takes longer to import than they to start.
    """
    sock.listen()
    sock.setblocking(False)
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, asked.set)
    try:
        await asked.wait()
    finally:
        loop.remove_reader(sock)
    server = await asyncio.to_thread(import_module, "kobune.node.simulator.server")
    async with server.serve(simulator, sock, tls):
        await loop.create_future()


async def _simulate(simulator: Simulator, wanted: AsyncIterator[Wanted]) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(simulator.run(), name="kubelets")
        there: Mapping[str, float] = {}
        async for now in wanted:
            simulator.leave([name for name, born in there.items() if now.born.get(name) != born])
            coming = [name for name, born in now.born.items() if there.get(name) != born]
            # Some at a time: thousands of manifests are never there at once.
            for start in range(0, len(coming), AT_ONCE):
                await simulator.join([node_manifest(now.shape(name)) for name in coming[start : start + AT_ONCE]])
            there = now.born


def node_manifest(shape: NodeShape) -> Json:
    """The Node object of a simulated node, without conditions."""
    release = get_version(shape.kubernetes_version)
    spec: Json = {"podCIDR": shape.pod_cidr, "podCIDRs": [shape.pod_cidr], "providerID": shape.provider_id}
    if shape.taints:
        spec["taints"] = list(shape.taints)
    return {
        "metadata": {
            "name": shape.name,
            "labels": shape.labels | {SIMULATED_LABEL: "true"},
            "annotations": shape.annotations,
        },
        "spec": spec,
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": shape.address},
                {"type": "Hostname", "address": shape.name},
            ],
            "capacity": capacity(shape.reservations),
            "allocatable": allocatable(shape.reservations),
            "nodeInfo": {
                "architecture": shape.reservations.vm_size.arch,
                "bootID": shape.provider_id,
                "containerRuntimeVersion": "simulated://1",
                "kernelVersion": "simulated",
                "kubeProxyVersion": "",
                "kubeletVersion": f"v{shape.kubernetes_version}",
                "machineID": shape.name,
                "operatingSystem": shape.pool.os.value.lower(),
                "osImage": OS_IMAGES.get(release.os_sku, release.os_sku),
                "systemUUID": shape.name,
            },
        },
    }
