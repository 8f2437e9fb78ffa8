"""The cluster autoscaler of one managed cluster, in a process of its own: it reads the cluster's machines and wishes for others."""

import asyncio
import contextlib
import logging
import os
import random
import re
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import orjson

from kobune.aks.clusters import AutoscalerProfile, NodePool
from kobune.aks.instances import Instances, MachineState, new_instances, wanted_count
from kobune.aks.nodes import allocatable, capacity, node_shape
from kobune.api.clock import Clock, SystemClock
from kobune.api.errors import ServiceUnavailable
from kobune.api.objects.core import Node
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig
from kobune.controlplane.autoscaler.autoscaler import ClusterAutoscaler
from kobune.controlplane.autoscaler.model import Group, Settings
from kobune.host.autoscaler_mirror import ClusterMirror
from kobune.host.autoscaler_wish import AutoscalerWish, read_wish
from kobune.host.instances import read_instances
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.logs import log_to_files
from kobune.host.pki import write_private
from kobune.host.spec import Spec, read_spec

log = logging.getLogger(__name__)

COMPONENT = "cluster-autoscaler"
TAKEN_SECONDS = 30.0  # The service looks ten times a second.
LOOK_SECONDS = 0.1
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class PoolGroups:
    """The autoscaled pools of a managed cluster, as the autoscaler's groups."""

    def __init__(self, layout: ClusterLayout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock

    async def read(self) -> Sequence[Group]:
        spec, instances = read_spec(self._layout), read_instances(self._layout)
        if spec is None:
            return ()
        pools = [pool for pool in spec.cluster.pools if pool.autoscaling and pool.running]
        return [group_of(spec, instances, pool) for pool in pools]

    async def increase(self, targets: Mapping[str, int]) -> None:
        await self._wish(targets, ())

    async def remove(self, machines: Collection[str]) -> None:
        instances = read_instances(self._layout)
        gone = [machine for machine in instances.machines if machine.name in machines and not machine.unwanted]
        targets: dict[str, int] = {}
        for machine in gone:
            targets[machine.pool] = targets.get(machine.pool, instances.targets.get(machine.pool, 0)) - 1
        await self._wish(targets, [machine.name for machine in gone])

    async def _wish(self, targets: Mapping[str, int], unwanted: Collection[str]) -> None:
        """Write the wish down and wait until the service has made it its own; then nothing loses it."""
        number = max(read_wish(self._layout).number, read_instances(self._layout).autoscaler_wish) + 1
        wish = AutoscalerWish(number, dict(targets), tuple(unwanted))
        write_private(self._layout.autoscaler, orjson.dumps(wish))
        deadline = self._clock.monotonic() + TAKEN_SECONDS
        while read_instances(self._layout).autoscaler_wish < number:
            if self._clock.monotonic() > deadline:
                raise ServiceUnavailable("the service does not take the autoscaler's wish")
            await self._clock.sleep(LOOK_SECONDS)


def group_of(spec: Spec, instances: Instances, pool: NodePool) -> Group:
    """The pool as a group, with the machines that are there to stay."""
    leaving = (MachineState.DELETING, MachineState.FAILED)
    machines = {
        machine.name: machine.born
        for machine in instances.of(pool.name)
        if not machine.unwanted and not machine.surge and not (machine.state in leaving and machine.then is None)
    }
    target = wanted_count(pool, instances.targets)
    return Group(pool.name, template_of(spec, instances, pool), target, pool.min_count, pool.max_count, machines)


def template_of(spec: Spec, instances: Instances, pool: NodePool) -> Node:
    """What the pool's next node will be like."""
    [machine] = new_instances(spec.cluster, pool, 1, instances, now=0.0, room=0)
    shape = node_shape(spec.cluster, pool, machine, node_cidr=spec.node_cidr, pod_cidr=spec.pod_cidr)
    manifest = {
        "metadata": {"name": pool.name, "labels": shape.labels},
        "spec": {"taints": list(shape.taints)},
        "status": {"capacity": capacity(shape.reservations), "allocatable": allocatable(shape.reservations)},
    }
    return msgspec.convert(manifest, Node)


def settings_of(profile: AutoscalerProfile) -> Settings:
    """AKS's profile as the autoscaler takes it."""
    interval = seconds(profile.scan_interval)
    after_delete = profile.scale_down_delay_after_delete
    return Settings(
        balance_similar_node_groups=profile.balance_similar_node_groups,
        daemonset_eviction_for_empty_nodes=profile.daemonset_eviction_for_empty_nodes,
        daemonset_eviction_for_occupied_nodes=profile.daemonset_eviction_for_occupied_nodes,
        expander=tuple(name.strip() for name in profile.expander.split(",")),
        ignore_daemonsets_utilization=profile.ignore_daemonsets_utilization,
        max_empty_bulk_delete=profile.max_empty_bulk_delete,
        max_graceful_termination=float(profile.max_graceful_termination_sec),
        max_node_provision_time=seconds(profile.max_node_provision_time),
        max_total_unready_percentage=profile.max_total_unready_percentage,
        new_pod_scale_up_delay=seconds(profile.new_pod_scale_up_delay),
        ok_total_unready_count=profile.ok_total_unready_count,
        scale_down_delay_after_add=seconds(profile.scale_down_delay_after_add),
        scale_down_delay_after_delete=seconds(after_delete) if after_delete else interval,
        scale_down_delay_after_failure=seconds(profile.scale_down_delay_after_failure),
        scale_down_unneeded_time=seconds(profile.scale_down_unneeded_time),
        scale_down_unready_time=seconds(profile.scale_down_unready_time),
        scale_down_utilization_threshold=profile.scale_down_utilization_threshold,
        scan_interval=interval,
        skip_nodes_with_local_storage=profile.skip_nodes_with_local_storage,
        skip_nodes_with_system_pods=profile.skip_nodes_with_system_pods,
    )


def seconds(text: str) -> float:
    """ "10m", "1h30m" or "0s" in seconds."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(h|ms|m|s)", text))


async def run(layout: ClusterLayout, spec: Spec) -> None:
    """Be the cluster's autoscaler until SIGTERM."""
    clock, rng = SystemClock(), random.Random()
    client = Client(load_kubeconfig(layout.component_kubeconfig(COMPONENT), user_agent=COMPONENT))
    mirror = ClusterMirror(client, clock=clock, rng=rng)
    autoscaler = ClusterAutoscaler(
        client,
        PoolGroups(layout, clock),
        mirror.look,
        settings_of(spec.cluster.autoscaler),
        clock=clock,
        rng=rng,
    )

    async def scan_and_watch() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(mirror.run(), name="mirror")
            tasks.create_task(autoscaler.run(), name="scans")

    running = asyncio.create_task(scan_and_watch(), name=COMPONENT)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        await client.transport.close()


def main(arguments: Sequence[str]) -> int:
    """`python -m kobune.host.autoscaler STATE_DIR CLUSTER`, as the service starts it."""
    state_dir, name = arguments
    layout = Layout(Path(state_dir)).cluster(name)
    spec = read_spec(layout)
    if spec is None:
        print(f"there is no cluster {name!r} in {state_dir}", file=sys.stderr)
        return 1
    os.umask(0o077)
    log_to_files(layout.logs, prefix=f"{COMPONENT}.")
    asyncio.run(run(layout, spec))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
