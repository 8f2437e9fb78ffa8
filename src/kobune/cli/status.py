"""`kobune status`: the clusters of a state directory and how they are."""

from typing import Annotated

import msgspec
import orjson
import typer

from kobune.api.errors import Json
from kobune.cli.output import Output, columns
from kobune.cli.state import StateDir, layout_of
from kobune.host.instances import read_instances
from kobune.host.layout import Layout
from kobune.host.service import is_served
from kobune.host.spec import OperationState, read_spec, read_status


def command(
    *,
    state_dir: StateDir = None,
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TEXT,
) -> None:
    """The clusters and how they are."""
    layout = layout_of(state_dir)
    rows = [row for name in layout.cluster_names() if (row := describe(layout, name))]
    if output is Output.JSON:
        typer.echo(orjson.dumps({"stateDir": str(layout.root), "clusters": rows}, option=orjson.OPT_INDENT_2).decode())
        return
    if not rows:
        typer.echo(f"there is no cluster in {layout.root}; kobune up makes one")
        return
    table = [("CLUSTER", "STATE", "KUBERNETES", "NODES", "SERVER", "KUBECONFIG")]
    for row in rows:
        nodes = f"{row['nodes']} real, {row['simulatedNodes']} simulated"
        table.append((row["name"], row["state"], row["kubernetesVersion"], nodes, row["server"], row["kubeconfig"]))
    typer.echo(columns(*table))
    for row in rows:
        for process in row["processes"]:
            typer.echo(f"  {row['name']}: {_process(process)}")
        if row["problem"]:
            typer.echo(f"  {row['name']}: {row['problem']}")


def _process(process: Json) -> str:
    state = f"runs as {process['pid']}" if process["pid"] else "is down"
    again = f", restarted {process['restarts']} times, last {process['last_exit']}" if process["restarts"] else ""
    pause = f", started again after {process['pause']:g} s" if process["pause"] else ""
    return f"{process['name']} {state}{again}{pause}"


def describe(layout: Layout, name: str) -> Json | None:
    """One cluster, as `-o json` shows it."""
    cluster = layout.cluster(name)
    spec = read_spec(cluster)
    if spec is None:
        return None
    status, machines = read_status(cluster), read_instances(cluster).machines
    failed = status.operation is not None and status.operation.state is OperationState.FAILED
    is_up = spec.running and is_served(layout)
    return {
        "name": name,
        "state": "Running" if is_up and status.running else "Starting" if is_up else "Stopped",
        "kubernetesVersion": spec.cluster.kubernetes_version,
        "nodes": sum(not machine.simulated for machine in machines),
        "simulatedNodes": sum(machine.simulated for machine in machines),
        "server": f"https://127.0.0.1:{spec.api_port}",
        "kubeconfig": str(cluster.kubeconfig),
        "processes": msgspec.to_builtins(status.processes) if is_up else [],
        "problem": status.problem or (status.operation.message if status.operation and failed else ""),
    }
