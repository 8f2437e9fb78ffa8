"""`kobune kube-scheduler`: the scheduler by itself, against any API server."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kobune.api.errors import Invalid
from kobune.cli.output import fail
from kobune.client.kubeconfig import KubeconfigError
from kobune.client.leases import LeadershipLost
from kobune.host.standalone import BadFlag, run_scheduler


def command(
    *,
    kubeconfig: Annotated[Path, typer.Option(help="How to reach the API server.")],
    config: Annotated[Path | None, typer.Option(help="A file with a KubeSchedulerConfiguration.")] = None,
    leader_elect: Annotated[
        bool, typer.Option(help="Work only while holding the lease kube-system/kube-scheduler.")
    ] = True,
) -> None:
    """Bind pods to nodes."""
    try:
        asyncio.run(run_scheduler(kubeconfig, leader_elect=leader_elect, config=config))
    except (BadFlag, Invalid, KubeconfigError, LeadershipLost) as error:
        fail(str(error))
