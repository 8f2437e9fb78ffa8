"""Options that say which state directory and which cluster a command means."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kobune.cli.output import fail
from kobune.host.layout import ClusterLayout, Layout, default_root
from kobune.host.spec import Spec, read_spec

DEFAULT_CLUSTER = "kobune"

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="Where clusters are kept: $KOBUNE_HOME, else /var/lib/kobune for root, else ~/.kobune.",
    ),
]
ClusterName = Annotated[str, typer.Option("--cluster", metavar="NAME", help="The cluster.")]


def layout_of(state_dir: Path | None) -> Layout:
    """The state directory that the options and the environment name."""
    return Layout((state_dir or default_root(os.environ, is_root=os.geteuid() == 0)).absolute())


def existing_cluster(layout: Layout, name: str) -> tuple[ClusterLayout, Spec]:
    """The cluster of this name; ends the command when there is none."""
    cluster = layout.cluster(name)
    spec = read_spec(cluster)
    if spec is None:
        known = layout.cluster_names()
        hint = f"there are {', '.join(known)}" if known else "there is none yet: kobune up makes one"
        fail(f"there is no cluster {name!r} in {layout.root}; {hint}")
    return cluster, spec
