"""`kobune down`: stops a cluster."""

import asyncio
import time
from dataclasses import replace
from typing import Annotated

import typer

from kobune.api.clock import SystemClock
from kobune.cli.output import fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of
from kobune.host.background import start_service
from kobune.host.instances import real_shapes
from kobune.host.service import is_served, purge
from kobune.host.spec import new_wish, read_status, write_spec

STOP_SECONDS = 60.0


def command(
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    purge_state: Annotated[bool, typer.Option("--purge", help="Also remove everything the cluster stored.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Stop a cluster.

    Its containers end; its objects stay for the next `up`."""
    layout = layout_of(state_dir)
    found, spec = existing_cluster(layout, cluster)
    write_spec(found, replace(spec, running=False, wish=new_wish("stop")))
    start_service(layout)
    deadline = time.monotonic() + STOP_SECONDS
    # The service first sees the wish, then stops the processes, then writes that nothing runs.
    while is_served(layout) and (read_status(found).running or not read_status(found).halted):
        if time.monotonic() > deadline:
            fail(f"cluster {cluster!r} did not stop within {STOP_SECONDS:.0f} s; see {layout.root / 'logs'}")
        time.sleep(0.05)
    if purge_state:
        if real_shapes(found, spec):
            from kobune.host.machines import destroy  # Late: brings the runtime's client along.

            asyncio.run(destroy(found, spec, SystemClock()))
        purge(found)
    typer.echo(f"cluster {cluster} is {'removed' if purge_state else 'stopped'}")
