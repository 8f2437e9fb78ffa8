"""`kobune evict`: takes a spot machine back, as Azure does when it needs the capacity."""

from typing import Annotated

import typer

from kobune.cli.output import fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of
from kobune.host.service import is_served
from kobune.host.spot import NotEvictable, evict


def command(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The name of a spot pool's node.")],
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
) -> None:
    """Take a spot machine back, as Azure does.

    It goes with its pods, without a drain. The pool gets another one: there is always capacity again."""
    layout = layout_of(state_dir)
    found, spec = existing_cluster(layout, cluster)
    if not is_served(layout) or not spec.running:
        fail(f"cluster {cluster!r} is stopped; kobune up starts it")
    try:
        evict(found, spec, node)
    except NotEvictable as error:
        fail(str(error))
    typer.echo(f"node {node} is taken back")
