"""The file in which the service remembers a cluster's machines, and the nodes that these are."""

from collections.abc import AsyncIterator, Callable, Mapping

import msgspec
import orjson

from kobune.aks.instances import Instance, Instances, MachineState
from kobune.aks.nodes import NodeShape, node_shape
from kobune.api.clock import Clock
from kobune.host.layout import ClusterLayout
from kobune.host.pki import write_private
from kobune.host.simulation import Wanted
from kobune.host.spec import Spec, read_spec

LOOK_SECONDS = 0.2  # How often other processes look for changes.
# A machine in one of these is up, or is to be.
UP = (MachineState.CREATING, MachineState.RUNNING, MachineState.DRAINING)


def read_instances(layout: ClusterLayout) -> Instances:
    """The machines as the service last wrote them down; none of a new cluster."""
    try:
        return msgspec.json.decode(layout.instances.read_bytes(), type=Instances)
    except FileNotFoundError:
        return Instances()


def write_instances(layout: ClusterLayout, instances: Instances) -> None:
    """Replace what is remembered, in one step. The service alone does this."""
    write_private(layout.instances, orjson.dumps(instances))


def shape_of(spec: Spec, instances: Instances, machine: Instance) -> NodeShape:
    """The node that the machine is."""
    pool = instances.pools[machine.pool]
    return node_shape(spec.cluster, pool, machine, node_cidr=spec.node_cidr, pod_cidr=spec.pod_cidr)


def real_shapes(layout: ClusterLayout, spec: Spec, *, up: bool = False) -> list[NodeShape]:
    """The nodes that run containers; with `up` those alone whose machines are to run."""
    instances = read_instances(layout)
    return [
        shape_of(spec, instances, machine)
        for machine in instances.machines
        if not machine.simulated and (machine.state in UP or not up)
    ]


async def follow(layout: ClusterLayout, clock: Clock) -> AsyncIterator[Instances]:
    """The machines as they are now, and again whenever they have changed."""
    seen = -1
    while True:
        changed = layout.instances.stat().st_mtime_ns if layout.instances.exists() else 0
        if changed != seen:
            seen = changed
            yield read_instances(layout)
        await clock.sleep(LOOK_SECONDS)


async def simulated_nodes(layout: ClusterLayout, clock: Clock) -> AsyncIterator[Wanted]:
    """The nodes that the control plane is to simulate."""
    async for instances in follow(layout, clock):
        machines = {
            machine.name: machine for machine in instances.machines if machine.simulated and machine.state in UP
        }
        spec = read_spec(layout)
        if spec is not None:
            yield Wanted({name: machine.born for name, machine in machines.items()}, _shapes(spec, instances, machines))


def _shapes(spec: Spec, instances: Instances, machines: Mapping[str, Instance]) -> Callable[[str], NodeShape]:
    return lambda name: shape_of(spec, instances, machines[name])
