"""The agent of one real node: its kubelet, kube-proxy and cluster DNS, inside the node's network namespace."""

import asyncio
import logging
import os
import random
import signal
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import uvloop

from kobune.aks.nodes import NodeShape
from kobune.api.clock import Clock, SystemClock
from kobune.api.objects.core import Node
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.client.kubeconfig import load_kubeconfig
from kobune.host.instances import real_shapes
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.logs import log_to_files
from kobune.host.machines import host_table, machine_of
from kobune.host.spec import Spec, read_spec
from kobune.node import netns
from kobune.node.dns.server import ClusterDns, find_upstreams
from kobune.node.dns.service import ADDRESS as DNS_ADDRESS
from kobune.node.kubelet.config import Amounts, Eviction, KubeletConfig, Taint, Tls
from kobune.node.kubelet.kubelet import Kubelet
from kobune.node.machine.machine import NodeMachine
from kobune.node.machine.requirements import CAP_SYS_RESOURCE, has_capability
from kobune.node.policy.enforcer import PolicyEnforcer
from kobune.node.policy.enforcer import forget as forget_policies
from kobune.node.proxy.proxy import KubeProxy
from kobune.node.runtime.runtime import RuntimeFailure

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
KI, MI = 1024, 1024 * 1024


def kubelet_config(cluster: ClusterLayout, shape: NodeShape, machine: NodeMachine) -> KubeletConfig:
    """What the kubelet of an AKS node of this shape is told."""
    kept, root = shape.reservations, cluster.node(shape.name)
    storage = kept.storage_capacity_ki * KI
    return KubeletConfig(
        node_name=shape.name,
        addresses=[("InternalIP", shape.address), ("Hostname", shape.name)],
        root_dir=root / "kubelet",
        capacity=Amounts(
            cpu_millicores=kept.cpu_capacity_millicores,
            memory_bytes=kept.memory_capacity_ki * KI,
            ephemeral_bytes=storage,
        ),
        kube_reserved=Amounts(cpu_millicores=kept.cpu_reserved_millicores, memory_bytes=kept.memory_reserved_mi * MI),
        eviction=Eviction(memory_available_bytes=kept.memory_eviction_mi * MI),
        eviction_reserved=Amounts(
            memory_bytes=kept.memory_eviction_mi * MI, ephemeral_bytes=storage - kept.storage_allocatable_bytes
        ),
        max_pods=shape.pool.max_pods,
        labels=shape.labels,
        annotations=shape.annotations,
        taints=[Taint(taint["key"], taint["effect"], taint.get("value", "")) for taint in shape.taints],
        provider_id=shape.provider_id,
        pod_cidr=shape.pod_cidr,
        kubelet_version=f"v{shape.kubernetes_version}",
        listen_address=shape.address,
        tls=Tls(root / "pki" / "kubelet.crt", root / "pki" / "kubelet.key", cluster.pki / "ca.crt"),
        cgroup_root=str(machine.cgroup_parent),
        restrict_oom_score_adj=None if has_capability(CAP_SYS_RESOURCE) else own_oom_score_adj(),
    )


def own_oom_score_adj() -> int:
    """The lowest score a process may give another one without CAP_SYS_RESOURCE: its own."""
    return int(Path("/proc/self/oom_score_adj").read_text())


async def run(
    cluster: ClusterLayout, spec: Spec, shape: NodeShape, machine: NodeMachine, clock: Clock, *, outside: Path
) -> None:
    """Be the node until SIGTERM. Containers outlive this process; the next one finds them.

    Args:
        outside: the machine's own network namespace.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = Client(load_kubeconfig(cluster.node(shape.name) / "pki" / "kubeconfig", user_agent="kubelet"))
    runtime = machine.open_runtime()
    kubelet = Kubelet(client, runtime, kubelet_config(cluster, shape, machine), clock=clock)
    proxy = KubeProxy(client, node_name=shape.name, clock=clock, local_range=shape.pod_cidr)
    dns = ClusterDns(client, clock=clock, rng=random.Random(), upstreams=find_upstreams(read_resolvers()))
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(kubelet.run(), name="kubelet"),
                tasks.create_task(proxy.run(), name="kube-proxy"),
                tasks.create_task(dns.run(), name="cluster DNS"),
                tasks.create_task(machine.watch(), name="containerd"),
                tasks.create_task(keep_routes(client, machine, clock), name="routes"),
            ]
            policies = enforce_policies(client, spec, shape.name, clock)
            running.append(tasks.create_task(policies, name="network policies"))
            on_host = KubeProxy(
                client,
                node_name=shape.name,
                clock=clock,
                local_range=spec.pod_cidr,
                table=host_table(cluster),
                namespace=outside,
                node_ports=False,
            )
            turn = run_if_first(cluster, spec, shape.name, on_host, clock)
            running.append(tasks.create_task(turn, name="kube-proxy of the machine"))
            await stop.wait()
            for task in running:
                task.cancel()
    finally:
        await runtime.close()
        await client.transport.close()


async def enforce_policies(client: Client, spec: Spec, name: str, clock: Clock) -> None:
    """Enforce NetworkPolicies on this node, if the cluster is to have that."""
    if spec.cluster.network_policy == "none":
        await forget_policies(None)
    else:
        await PolicyEnforcer(client, node_name=name, clock=clock, dns_address=DNS_ADDRESS).run()


async def run_if_first(cluster: ClusterLayout, spec: Spec, name: str, proxy: KubeProxy, clock: Clock) -> None:
    """Keep the rules by which the machine itself reaches Services, while this node is the first of those that could."""
    turn: asyncio.Task[None] | None = None
    seen = 0
    async with asyncio.TaskGroup() as tasks:
        while True:
            changed = cluster.instances.stat().st_mtime_ns if cluster.instances.exists() else 0
            if changed != seen:
                seen = changed
                first = min(real_shapes(cluster, spec, up=True), key=lambda shape: shape.index, default=None)
                is_ours = first is not None and first.name == name
                if is_ours and turn is None:
                    turn = tasks.create_task(proxy.run(), name="rules of the machine")
                elif not is_ours and turn is not None:
                    turn.cancel()
                    turn = None
            await clock.sleep(LOOK_SECONDS)


def read_resolvers() -> str:
    """The machine's resolver configuration; where systemd's own resolver stands in front, the one behind it."""
    for path in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if path.exists():
            return path.read_text()
    return ""


async def keep_routes(client: Client, machine: NodeMachine, clock: Clock) -> None:
    """Keep a route to the pods of every other node."""
    nodes = Informer(client, Node, clock=clock)
    changed = asyncio.Event()
    nodes.on_change(lambda old, new: changed.set())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(nodes.run(), name="nodes")
        while True:
            await changed.wait()
            changed.clear()
            routes = {
                IPv4Network(node.spec.pod_cidr): IPv4Address(address)
                for node in nodes.items.values()
                if node.spec.pod_cidr and (address := node.internal_ip)
            }
            await machine.set_routes(routes)


def main(arguments: Sequence[str]) -> int:
    """`python -m kobune.host.node_agent STATE_DIR CLUSTER NODE`, as the service starts it."""
    state_dir, name, node = arguments
    cluster = Layout(Path(state_dir)).cluster(name)
    spec = read_spec(cluster)
    shape = next((shape for shape in real_shapes(cluster, spec) if shape.name == node), None) if spec else None
    if spec is None or shape is None:
        print(f"cluster {name!r} has no node {node!r}", file=sys.stderr)
        return 1
    os.umask(0o077)
    log_to_files(cluster.logs, prefix=f"{node}.")
    return be_node(cluster, spec, shape)


def be_node(cluster: ClusterLayout, spec: Spec, shape: NodeShape) -> int:
    """Make the machine from outside, enter it, and run the node's components inside."""
    clock = SystemClock()
    machine = machine_of(cluster, spec, shape, clock)
    try:
        asyncio.run(machine.start())
    except RuntimeFailure as error:
        print(error, file=sys.stderr)
        return 1
    outside = Path(f"/proc/self/fd/{os.open('/proc/self/ns/net', os.O_RDONLY)}")
    # Before the loop has made threads: each thread is in a namespace of its own choice.
    netns.enter(machine.namespace)
    uvloop.run(run(cluster, spec, shape, machine, clock, outside=outside))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
