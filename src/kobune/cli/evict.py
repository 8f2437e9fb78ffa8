"""`kobune evict`: takes a spot machine back, as Azure does when it needs the capacity."""

from dataclasses import replace
from typing import Annotated

import typer

from kobune.cli.output import fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of
from kobune.host.instances import read_instances
from kobune.host.service import is_served
from kobune.host.spec import write_spec


def command(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The name of a spot pool's node.")],
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
) -> None:
    """Take a spot machine back, pods and all, without a drain.

    The pool gets another one: there is always capacity again."""
    layout = layout_of(state_dir)
    found, spec = existing_cluster(layout, cluster)
    if not is_served(layout) or not spec.running:
        fail(f"cluster {cluster!r} is stopped; kobune up starts it")
    there = {machine.name: machine for machine in read_instances(found).machines}
    machine = there.get(node)
    if machine is None:
        fail(f"cluster {cluster!r} has no node {node!r}")
    pools = []
    for pool in spec.cluster.pools:
        if pool.name == machine.pool:
            if not pool.spot:
                fail(f"pool {pool.name!r} has no spot machines, and Azure takes no others back")
            # Names of machines that are gone would only pile up.
            pool = replace(pool, evicted=(*(name for name in pool.evicted if name in there), node))
        pools.append(pool)
    write_spec(found, replace(spec, cluster=replace(spec.cluster, pools=tuple(pools))))
    typer.echo(f"node {node} is taken back")
