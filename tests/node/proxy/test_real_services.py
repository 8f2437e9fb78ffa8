"""Services answer on real nodes: from pods, from the nodes and from the host, by rules that come back when deleted."""

import asyncio
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Service
from kobune.api.objects.discovery import EndpointSlice
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.node.machine.machine import NodeMachine
from kobune.node.netns import connect_in
from kobune.node.proxy.proxy import KubeProxy
from kobune.node.runtime.images import BUSYBOX
from kobune.node.runtime.runtime import ContainerSpec, SandboxSpec

pytestmark = pytest.mark.real


@asynccontextmanager
async def proxies(client: Client, nodes: list[NodeMachine]):
    """A kube-proxy on each node, and one for the host."""
    table = f"kube-proxy-{nodes[0].spec.network.cluster}"
    running = [
        KubeProxy(
            client, node_name=node.spec.node, clock=SystemClock(), local_range=str(node.spec.pod_range),
            namespace=node.namespace, check_seconds=1,
        )
        for node in nodes
    ]  # fmt: skip
    host = KubeProxy(client, node_name="", clock=SystemClock(), table=table, node_ports=False, check_seconds=1)
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(proxy.run()) for proxy in (*running, host)]
        try:
            yield
        finally:
            for task in work:
                task.cancel()
            await host.remove()


async def web_pod(node: NodeMachine, stack: AsyncExitStack) -> tuple[str, str]:
    """A pod that answers on port 8080; its container's id and its address."""
    runtime = node.open_runtime()
    stack.push_async_callback(runtime.close)
    spec = SandboxSpec(name="web", namespace="default", uid="u", hostname="web",
                       cgroup_parent=str(node.cgroup_parent / "kubepods"))  # fmt: skip
    sandbox = await runtime.run_sandbox(spec)
    image = await runtime.find_image(BUSYBOX)
    command = ["sh", "-c", f"mkdir /www; echo {node.spec.node} > /www/name; httpd -f -p 8080 -h /www"]
    container = await runtime.create_container(sandbox, ContainerSpec("web", image.id, command=command), spec)
    await runtime.start_container(container)
    return container, (await runtime.find_sandbox(sandbox)).ips[0]


async def ask(node: NodeMachine, container: str, url: str) -> str:
    runtime = node.open_runtime()
    try:
        code, output, _ = await runtime.exec_sync(container, ["wget", "-q", "-O-", url], timeout_seconds=30)
    finally:
        await runtime.close()
    return output.decode().strip() if code == 0 else ""


async def eventually(check) -> None:
    async with asyncio.timeout(60):
        while not await check():
            await asyncio.sleep(0.05)


async def reaches(namespace, address: str, port: int) -> bool:
    try:
        (await connect_in(namespace, address, port, seconds=1)).close()
    except OSError:
        return False
    return True


async def test_a_service_answers_from_everywhere(client: Client, make_node):
    nodes = [make_node(1), make_node(2)]
    await asyncio.gather(*(node.start() for node in nodes))
    await asyncio.gather(
        *(node.set_routes({each.spec.pod_range: each.spec.address for each in nodes}) for node in nodes)
    )
    address = str(nodes[0].spec.network.service_range[9])
    ports = [{"port": 80, "targetPort": 8080, "nodePort": 30080, "protocol": "TCP"}]
    await client.create(
        Service,
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "NodePort", "clusterIP": address, "clusterIPs": [address], "ports": ports},
        },
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(proxies(client, nodes))
        await eventually(lambda: refuses(address))
        pods = [await web_pod(node, stack) for node in nodes]
        await client.create(
            EndpointSlice,
            {
                "metadata": {
                    "name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"},
                },
                "addressType": "IPv4",
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": [pod[1]], "nodeName": node.spec.node, "conditions": {"ready": True}}
                    for pod, node in zip(pods, nodes, strict=True)
                ],
            },
        )  # fmt: skip
        for namespace in (None, nodes[0].namespace, nodes[1].namespace):
            await eventually(lambda where=namespace: reaches(where, address, 80))
        # Pods reach every endpoint, their own (through the address) among them.
        answers = {await ask(nodes[0], pods[0][0], f"http://{address}/name") for _ in range(20)}
        assert answers == {"node-1", "node-2"}
        # Every node answers on the node port, for endpoints on any node.
        for node in nodes:
            assert all([await reaches(None, str(node.spec.address), 30080) for _ in range(5)])

        for namespace, table in (
            (nodes[0].namespace, "kube-proxy"),
            (None, f"kube-proxy-{nodes[0].spec.network.cluster}"),
        ):
            await delete_table(namespace, table)
        await eventually(lambda: reaches(None, address, 80))
        await eventually(lambda: reaches(nodes[0].namespace, address, 80))

        await client.delete(EndpointSlice, Key("default", "web-1"))
        await eventually(lambda: refuses(address))


async def refuses(address: str) -> bool:
    """At once: a packet that were only dropped would time out."""
    try:
        (await connect_in(None, address, 80, seconds=1)).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


async def delete_table(namespace, table: str) -> None:
    from kobune.node.netns import run_in

    run_in(namespace, lambda: subprocess.run(["nft", "delete", "table", "ip", table], check=True))
