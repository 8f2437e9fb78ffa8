"""`kobune snapshot`: a cluster's objects in one file, and back; and a cluster made from another one."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import orjson
import typer

from kobune.api.clock import SystemClock
from kobune.api.errors import Invalid
from kobune.cli.output import Output, fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of
from kobune.controlplane.store.contract import Damaged, Unavailable
from kobune.controlplane.store.snapshot import Snapshot
from kobune.controlplane.store.sqlite_log import InUse
from kobune.host import snapshots
from kobune.host.background import NotStarted, start_service
from kobune.host.placement import find_port, find_slot
from kobune.host.spec import read_spec, write_spec
from kobune.host.stores import BadStore

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, help="A cluster's objects in one file."
)
OutputOption = Annotated[Output, typer.Option("-o", "--output")]


@app.command()
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to put the snapshot; must not exist.")],
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Save everything the cluster has stored, whether it runs or not. Secrets are in the file as they are in the store."""
    found, spec = existing_cluster(layout_of(state_dir), cluster)
    try:
        saved = asyncio.run(snapshots.save(found, spec, file.absolute(), SystemClock().now()))
    except (Damaged, Unavailable, OSError) as error:
        fail(str(error))
    _say(f"saved cluster {cluster} to {file}", saved, output)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot.")],
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Put a stopped cluster back to where a snapshot was saved. What it had is kept beside it."""
    found, spec = existing_cluster(layout_of(state_dir), cluster)
    try:
        restored, kept = asyncio.run(snapshots.restore(found, spec, file.absolute(), SystemClock().now()))
    except (InUse, snapshots.StillRuns):
        fail(f"cluster {cluster} runs; stop it first: kobune down --cluster {cluster}")
    except (Damaged, Unavailable, OSError) as error:
        fail(str(error))
    _say(f"restored cluster {cluster} from {file}{f'; what it had is {kept}' if kept else ''}", restored, output)


@app.command()
def fork(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new cluster.")],
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="A snapshot of the cluster; else what it has stored now."),
    ] = None,
    start: Annotated[bool, typer.Option(help="Start the new cluster, and return when it is Ready.")] = True,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a new cluster of a cluster's objects, to try things on.

    It has its own authority and credentials. Its nodes bear the same names and are all simulated: pods go on without
    containers."""
    layout = layout_of(state_dir)
    found, spec = existing_cluster(layout, cluster)
    new = layout.cluster(name)
    if read_spec(new) is not None:
        fail(f"there is a cluster {name!r} already")
    now = SystemClock().now()
    port, slot = find_port(layout, now.timestamp()), find_slot(layout, now.timestamp())
    if port is None or slot is None:
        fail("there is no room for another cluster on this machine; kobune down --purge makes some")
    try:
        forked = asyncio.run(
            snapshots.fork(found, spec, new, file=file and file.absolute(), api_port=port, slot=slot, now=now)
        )
    except (BadStore, Damaged, Invalid, Unavailable, OSError) as error:
        fail(str(error))
    if start:
        from kobune.cli.up import wait_until_ready  # Late: brings the client along.

        wanted = read_spec(new)
        assert wanted is not None
        wanted = replace(wanted, running=True)
        write_spec(new, wanted)
        try:
            start_service(layout)
        except NotStarted as error:
            fail(str(error))
        problem = asyncio.run(wait_until_ready(new, wanted))
        if problem:
            fail(problem)
    _say(f"forked cluster {cluster} as {name}", forked, output)
    if start:
        typer.echo(f"export KUBECONFIG={new.kubeconfig}", err=True)


def _say(sentence: str, snapshot: Snapshot, output: Output) -> None:
    if output is Output.JSON:
        typer.echo(orjson.dumps(snapshot._asdict(), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(f"{sentence}: {snapshot.objects} objects, {snapshot.bytes / 1e6:.1f} MB")
