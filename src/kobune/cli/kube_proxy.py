"""`kobune kube-proxy`: the Service rules of one machine, with upstream's flags."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kobune.cli.output import fail
from kobune.client.kubeconfig import KubeconfigError
from kobune.host.standalone_node import run_proxy


def command(
    *,
    kubeconfig: Annotated[Path, typer.Option(help="How to reach the API server.")],
    hostname_override: Annotated[str, typer.Option(help="The node's name; else the machine's.")] = "",
    cluster_cidr: Annotated[str, typer.Option(help="The addresses of pods.")] = "10.244.0.0/16",
) -> None:
    """Lead Services to their endpoints.

    Keeps the nftables rules of this machine."""
    try:
        asyncio.run(run_proxy(kubeconfig, hostname_override=hostname_override, cluster_cidr=cluster_cidr))
    except KubeconfigError as error:
        fail(str(error))
