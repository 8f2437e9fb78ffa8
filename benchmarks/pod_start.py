"""How long from creating a pod to its being Running on a real node? One at a time, and thirty at once. JSON lines.

Needs root and containerd. Prints also CRI's own floor (sandbox, create, start) measured on the same node.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import orjson

from kobune.api.clock import SystemClock
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.kubelet import Kubelet
from kobune.node.machine.machine import MachineSpec, NodeMachine
from kobune.node.machine.network import Network
from kobune.node.runtime.runtime import ContainerSpec, Runtime, SandboxSpec

IMAGE = "kobune.local/busybox"
# No controllers run here, so nothing makes service accounts or waits for the default namespaces.
API = ApiServerConfig(disabled_admission_plugins=("ServiceAccount",), serve_bootstrap=False)
ROUNDS, CROWD = 20, 30


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[tuple[NodeMachine, Runtime, Client]]:
    """A node with its kubelet, and a client of its API server."""
    second = 200 + os.getpid() % 50
    network = Network(f"bench-{os.getpid()}", IPv4Network(f"10.{second}.0.0/24"), IPv4Network(f"10.{second}.128.0/17"))
    address = IPv4Address(f"10.{second}.0.4")
    machine = NodeMachine(MachineSpec(network, "node-1", folder, address, IPv4Network(f"10.{second}.129.0/24")))
    clock = SystemClock()
    try:
        await machine.start()
        runtime = machine.open_runtime()
        async with ApiServer(API, MemoryStore(), clock=clock, source=random.Random(1)) as server:
            client = Client(LocalTransport(server, MASTER))
            for name in ("default", "kube-node-lease"):
                with suppress(Exception):
                    await post(client, "/api/v1/namespaces", {"metadata": {"name": name}})
            config = KubeletConfig(
                "node-1",
                addresses=[("InternalIP", str(address)), ("Hostname", "node-1")],
                root_dir=folder / "kubelet",
                cgroup_root=str(machine.cgroup_parent),
            )
            kubelet = asyncio.create_task(Kubelet(client, runtime, config, clock=clock).run())
            await asyncio.sleep(1)
            yield machine, runtime, client
            kubelet.cancel()
            await asyncio.gather(kubelet, return_exceptions=True)
        await runtime.close()
    finally:
        await machine.destroy()


async def post(client: Client, path: str, body: Any) -> Any:
    return orjson.loads(await client.call("POST", path, body=orjson.dumps(body)))


def manifest(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "1000000"], "imagePullPolicy": "IfNotPresent"}
    spec = {"nodeName": "node-1", "containers": [container], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def until_running(client: Client, names: set[str]) -> None:
    """By a watch, so that looking costs the machine nothing."""
    left = set(names)
    query = {"watch": "true", "allowWatchBookmarks": "false"}
    async for line in client.transport.stream("/api/v1/namespaces/default/pods", query=query):
        pod = orjson.loads(line)["object"]
        if pod["metadata"]["name"] in left and pod["status"].get("phase") == "Running":
            left.discard(pod["metadata"]["name"])
            if not left:
                return


async def start(client: Client, names: set[str]) -> float:
    """Seconds from the first creation until all run."""
    watching = asyncio.create_task(until_running(client, names))
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    for name in names:
        await post(client, "/api/v1/namespaces/default/pods", manifest(name))
    await watching
    return time.perf_counter() - began


async def end(client: Client, runtime: Runtime, names: set[str]) -> None:
    for name in names:
        await client.call("DELETE", f"/api/v1/namespaces/default/pods/{name}", body=b'{"gracePeriodSeconds":0}')
    while await runtime.list_sandboxes():
        await asyncio.sleep(0.1)


async def floor(runtime: Runtime, number: int) -> float:
    """The runtime alone: sandbox, container, start."""
    spec = SandboxSpec(name=f"floor-{number}", namespace="default", uid=f"floor-{number}", labels={})
    image = await runtime.find_image(IMAGE)
    assert image is not None
    began = time.perf_counter()
    sandbox = await runtime.run_sandbox(spec)
    container = await runtime.create_container(
        sandbox, ContainerSpec("main", image.id, command=["sleep", "1000000"]), spec
    )
    await runtime.start_container(container)
    took = time.perf_counter() - began
    await runtime.stop_container(container, grace_seconds=0)
    await runtime.stop_sandbox(sandbox)
    await runtime.remove_sandbox(sandbox)
    return took


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kobune-bench-") as folder:
        async with node(Path(folder) / "node-1") as (_, runtime, client):
            floors = [await floor(runtime, number) for number in range(10)]
            print(json.dumps({"bench": "CRI alone", "p50_seconds": round(statistics.median(floors), 3)}), flush=True)
            times = []
            for number in range(ROUNDS):
                times.append(await start(client, {f"one-{number}"}))
                await end(client, runtime, {f"one-{number}"})
            print(
                json.dumps(
                    {
                        "bench": "pod start, one at a time",
                        "p50_seconds": round(statistics.median(times), 3),
                        "max_seconds": round(max(times), 3),
                    }
                ),
                flush=True,
            )
            names = {f"crowd-{number}" for number in range(CROWD)}
            took = await start(client, names)
            print(json.dumps({"bench": "pod start, at once", "pods": CROWD, "seconds": round(took, 2)}), flush=True)
            await end(client, runtime, names)


if __name__ == "__main__":
    if os.geteuid():
        sys.exit("real nodes need root")
    import uvloop

    uvloop.run(main())
