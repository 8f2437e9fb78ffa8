"""Pods of a real node find Services by name, near and full, and names of the world by the node's resolvers."""

import asyncio
import random
import socket
from contextlib import asynccontextmanager

import pytest
from dnslib import QTYPE, RR, A, DNSRecord

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Service
from kobune.client.client import Client
from kobune.node.dns.server import ClusterDns, find_upstreams
from kobune.node.machine.machine import NodeMachine
from kobune.node.netns import open_socket
from kobune.node.runtime.images import BUSYBOX
from kobune.node.runtime.runtime import ContainerSpec, SandboxSpec


class World(asyncio.DatagramProtocol):
    """A resolver that knows one name."""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address) -> None:
        request = DNSRecord.parse(data)
        answer = request.reply()
        if str(request.q.qname) == "example.org.":
            answer.add_answer(RR("example.org", QTYPE.A, rdata=A("93.184.215.14"), ttl=60))
        else:
            answer.header.rcode = 3
        self.transport.sendto(answer.pack(), address)


@asynccontextmanager
async def cluster_dns(client: Client, node: NodeMachine, address: str):
    world = open_socket(None, kind=socket.SOCK_DGRAM)
    world.bind((str(node.spec.network.host.ip), 53))
    world.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(World, sock=world)
    dns = ClusterDns(
        client, clock=SystemClock(), rng=random.Random(1), address=address,
        upstreams=[str(node.spec.network.host.ip)], namespace=node.namespace,
    )  # fmt: skip
    try:
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(dns.run())
            yield
            work.cancel()
    finally:
        transport.close()
        await asyncio.sleep(0)  # It closes in the loop's next turn.


@pytest.mark.real
async def test_pods_resolve_names(client: Client, make_node):
    node = make_node(1)
    await node.start()
    services = node.spec.network.service_range
    web, dns = str(services[9]), str(services[10])
    await client.create(
        Service,
        {"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": web, "ports": [{"port": 80}]}},
    )
    await client.create(
        Service,
        {"metadata": {"name": "out", "namespace": "default"},
         "spec": {"type": "ExternalName", "externalName": "example.org"}},
    )  # fmt: skip
    runtime = node.open_runtime()
    spec = SandboxSpec(
        name="p", namespace="default", uid="u", hostname="p", dns_servers=[dns], dns_options=["ndots:5"],
        dns_searches=["default.svc.cluster.local", "svc.cluster.local", "cluster.local"],
        cgroup_parent=str(node.cgroup_parent / "kubepods"),
    )  # fmt: skip
    try:
        async with cluster_dns(client, node, dns):
            sandbox = await runtime.run_sandbox(spec)
            image = await runtime.find_image(BUSYBOX)
            container = await runtime.create_container(
                sandbox, ContainerSpec("main", image.id, command=["sleep", "1000"]), spec
            )
            await runtime.start_container(container)

            async def look_up(name: str) -> str:
                command = ["ping", "-c1", "-W1", name]  # It prints the address, whoever answers.
                _, output, errors = await runtime.exec_sync(container, command, timeout_seconds=20)
                return (output + errors).decode()

            for name in ("web", "web.default", "web.default.svc.cluster.local"):
                assert f"({web})" in await look_up(name)
            assert "bad address" in await look_up("none")
            assert "(93.184.215.14)" in await look_up("example.org")
            assert "(93.184.215.14)" in await look_up("out")
    finally:
        await runtime.close()


def test_resolvers_on_another_loopback_are_no_use():
    assert find_upstreams("search x\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver fe80::1\n") == ["10.1.1.1"]
