"""Spot machines that are taken back, as Azure does when it needs the capacity."""

from dataclasses import replace

from kobune.host.instances import read_instances
from kobune.host.layout import ClusterLayout
from kobune.host.spec import Spec, write_spec


class NotEvictable(Exception):
    """Why a machine is not taken back, in one sentence."""


def evict(cluster: ClusterLayout, spec: Spec, node: str) -> None:
    """Take a spot machine back, pods and all, without a drain; the pool gets another one: there is always capacity again.

    Raises:
        NotEvictable: there is no such machine, or it is none of a spot pool.
    """
    there = {machine.name: machine for machine in read_instances(cluster).machines}
    machine = there.get(node)
    if machine is None:
        raise NotEvictable(f"cluster {cluster.name!r} has no node {node!r}")
    pools = []
    for pool in spec.cluster.pools:
        if pool.name == machine.pool:
            if not pool.spot:
                raise NotEvictable(f"pool {pool.name!r} has no spot machines, and Azure takes no others back")
            # Names of machines that are gone would only pile up.
            pool = replace(pool, evicted=(*(name for name in pool.evicted if name in there), node))
        pools.append(pool)
    write_spec(cluster, replace(spec, cluster=replace(spec.cluster, pools=tuple(pools))))
