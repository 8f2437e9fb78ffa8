"""`kobune kube-controller-manager`: the controllers by themselves, against any API server."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kobune.cli.output import fail
from kobune.client.kubeconfig import KubeconfigError
from kobune.client.leases import LeadershipLost
from kobune.host.standalone import run_controller_manager


def command(
    *,
    kubeconfig: Annotated[Path, typer.Option(help="How to reach the API server.")],
    leader_elect: Annotated[bool, typer.Option(help="Work only while holding the lease.")] = True,
    controllers: Annotated[str, typer.Option(help="'*' is all, 'foo' adds one, '-foo' leaves one out.")] = "*",
) -> None:
    """Keep what is as it should be."""
    try:
        asyncio.run(run_controller_manager(kubeconfig, leader_elect=leader_elect, controllers=controllers))
    except (KubeconfigError, LeadershipLost, ValueError) as error:
        fail(str(error))
