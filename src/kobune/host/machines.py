"""The machines under a cluster's real nodes, from the cluster's spec."""

import asyncio
import hashlib
import shutil
from ipaddress import IPv4Address, IPv4Network

from kobune.aks.nodes import NodeShape
from kobune.api.clock import Clock
from kobune.host.instances import real_shapes
from kobune.host.layout import ClusterLayout
from kobune.host.spec import Spec
from kobune.node import nft
from kobune.node.machine.machine import MachineSpec, NodeMachine
from kobune.node.machine.mounts import unmount_below
from kobune.node.machine.network import Network


def machine_of(cluster: ClusterLayout, spec: Spec, shape: NodeShape, clock: Clock) -> NodeMachine:
    """The machine of one node; nothing is made yet."""
    network = Network(machine_wide_name(cluster), IPv4Network(spec.node_cidr), IPv4Network(spec.pod_cidr))
    place = MachineSpec(
        network=network,
        node=shape.name,
        state=cluster.node(shape.name) / "machine",
        address=IPv4Address(shape.address),
        pod_range=IPv4Network(shape.pod_cidr),
    )
    return NodeMachine(place, clock)


def machine_wide_name(cluster: ClusterLayout) -> str:
    """The cluster's name among all of this machine: another state directory may have one that is called the same."""
    return f"{cluster.name}-{_digest(cluster)}"


def host_table(cluster: ClusterLayout) -> str:
    """The nftables table by which the machine itself reaches the cluster's Services."""
    return f"kobune-{_digest(cluster)}"


def _digest(cluster: ClusterLayout) -> str:
    return hashlib.sha256(str(cluster.root.resolve()).encode()).hexdigest()[:8]


async def halt(cluster: ClusterLayout, spec: Spec, clock: Clock) -> None:
    """End every container of the cluster; images and files stay."""
    async with asyncio.TaskGroup() as tasks:
        for shape in real_shapes(cluster, spec):
            tasks.create_task(_halt(cluster, machine_of(cluster, spec, shape, clock)), name=f"halt {shape.name}")
    await asyncio.to_thread(nft.remove, host_table(cluster), None)


async def destroy(cluster: ClusterLayout, spec: Spec, clock: Clock) -> None:
    """Leave nothing of the cluster's nodes on this machine."""
    async with asyncio.TaskGroup() as tasks:
        for shape in real_shapes(cluster, spec):
            tasks.create_task(remove(cluster, spec, shape, clock, keep_disk=False), name=f"destroy {shape.name}")
    await asyncio.to_thread(nft.remove, host_table(cluster), None)


async def remove(cluster: ClusterLayout, spec: Spec, shape: NodeShape, clock: Clock, *, keep_disk: bool) -> None:
    """Take one machine down: its containers, its runtime and its place in the network, and unless kept its files."""
    machine = machine_of(cluster, spec, shape, clock)
    if keep_disk:
        await _halt(cluster, machine)
        return
    await machine.destroy()
    await asyncio.to_thread(unmount_below, cluster.node(shape.name))
    await asyncio.to_thread(shutil.rmtree, cluster.node(shape.name), ignore_errors=True)


async def _halt(cluster: ClusterLayout, machine: NodeMachine) -> None:
    await machine.stop()
    # The kubelet's volumes in memory: without their pods nobody needs them.
    await asyncio.to_thread(unmount_below, cluster.node(machine.spec.node))
