"""Simulated nodes of a cluster: AKS node shapes handed to the simulator, and one kubelet endpoint for them all."""

import random
import ssl
from collections.abc import Iterator, Sequence

from kobune.aks.nodes import NodeShape, allocatable, capacity
from kobune.aks.versions import get_version
from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.client.client import Client
from kobune.node.simulator.server import serve
from kobune.node.simulator.simulator import Simulator

SIMULATED_LABEL = "kobune.local/simulated"
OS_IMAGES = {"Ubuntu2204": "Ubuntu 22.04.5 LTS", "Ubuntu2404": "Ubuntu 24.04.3 LTS"}


async def simulate(
    client: Client, shapes: Sequence[NodeShape], *, clock: Clock, rng: random.Random, tls: ssl.SSLContext | None
) -> None:
    """Be the kubelets of these nodes until cancelled; with `tls` their logs and exec answer on a loopback port."""
    simulator = Simulator(client, manifests(shapes), clock=clock, rng=rng)
    if tls is None:
        await simulator.run()
        return
    from kobune.host.sockets import listener

    with listener("127.0.0.1", 0) as sock:
        host, port = sock.getsockname()
        simulator.endpoint = f"{host}:{port}"
        async with serve(simulator, sock, tls):
            await simulator.run()


def manifests(shapes: Sequence[NodeShape]) -> Iterator[Json]:
    """The Node objects, one by one."""
    for shape in shapes:
        yield node_manifest(shape)


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
