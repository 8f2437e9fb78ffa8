"""`kobune kubeconfig`: where the kubeconfig of a cluster is."""

from typing import Annotated

import typer

from kobune.cli.output import fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of


def command(
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    export: Annotated[bool, typer.Option("--export", help="Print it as the line that a shell evaluates.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Print the path of a kubeconfig.

    In a shell: eval "$(kobune kubeconfig --export)"."""
    found, _ = existing_cluster(layout_of(state_dir), cluster)
    if not found.kubeconfig.exists():
        fail(f"cluster {cluster!r} has not been started yet")
    typer.echo(f"export KUBECONFIG={found.kubeconfig}" if export else found.kubeconfig)
