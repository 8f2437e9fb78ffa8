"""`kobune image`: container images on the real nodes of a cluster."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from kobune.cli.output import Output, columns, fail
from kobune.cli.state import DEFAULT_CLUSTER, ClusterName, StateDir, existing_cluster, layout_of
from kobune.host import node_images

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, help="Container images on the nodes."
)


@app.command()
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An OCI layout or `docker save` archive.")],
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
) -> None:
    """Put the images of an archive on every real node of the cluster."""
    found, spec = existing_cluster(layout_of(state_dir), cluster)
    try:
        for name in node_images.load(found, spec, file):
            typer.echo(name)
    except node_images.ImageProblem as error:
        fail(str(error))


@app.command(name="ls")
def list_images(
    *,
    cluster: ClusterName = DEFAULT_CLUSTER,
    state_dir: StateDir = None,
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TEXT,
) -> None:
    """The images on the cluster's real nodes."""
    found, spec = existing_cluster(layout_of(state_dir), cluster)
    try:
        rows = node_images.list_images(found, spec)
    except node_images.ImageProblem as error:
        fail(str(error))
    if output is Output.JSON:
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    table = [("NODE", "IMAGE", "ID", "SIZE")]
    for row in rows:
        table.append((row["node"], ", ".join(row["tags"]), row["id"][:19], f"{row['sizeBytes'] / 1e6:.1f} MB"))
    typer.echo(columns(*table))
