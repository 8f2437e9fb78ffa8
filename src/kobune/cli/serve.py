"""`kobune serve`: the service in the foreground, with its Azure Resource Manager endpoint."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from kobune.aks.arm.throttling import DEFAULT_FACTOR
from kobune.api.clock import SystemClock
from kobune.cli.output import fail
from kobune.cli.state import StateDir, layout_of
from kobune.host.endpoint import DEFAULT_ADDRESS, DEFAULT_CORES_QUOTA, DEFAULT_PORT, EndpointOptions
from kobune.host.layout import Layout
from kobune.host.leftovers import sweep
from kobune.host.logs import log_to_files
from kobune.host.service import AlreadyServed, hold_lock, serve


def command(
    *,
    state_dir: StateDir = None,
    until_idle: Annotated[bool, typer.Option(help="End when no cluster is to run any more.")] = False,
    arm: Annotated[bool, typer.Option(help="Answer az, the Azure SDKs and Terraform.")] = True,
    arm_address: Annotated[
        str, typer.Option(metavar="IP", help="Where the endpoint listens; other machines reach all but loopback.")
    ] = DEFAULT_ADDRESS,
    arm_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            help=f"0: any free one; else the one it had, {DEFAULT_PORT}, or any free one.",
            min=0,
            max=65535,
        ),
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Pools made through the endpoint get nodes without containers.")
    ] = False,
    cores_quota: Annotated[
        int, typer.Option(metavar="N", help="Cores of each VM family that a region has.", min=0)
    ] = DEFAULT_CORES_QUOTA,
    throttle: Annotated[
        float,
        typer.Option(metavar="FACTOR", help="Requests are limited to this many times Azure's limits; 0: not.", min=0),
    ] = DEFAULT_FACTOR,
) -> None:
    """Keep clusters running; `up` starts it.

    What runs goes on when this ends, and is found again. `kobune az` points az and other clients at it."""
    layout = layout_of(state_dir)
    try:
        with hold_lock(layout):
            log_to_files(layout.root / "logs", of_cluster=lambda name: layout.cluster(name).logs)
            sweep()
            if arm and not until_idle:
                options = EndpointOptions(arm_address, arm_port, simulated, cores_quota, throttle)
                asyncio.run(_until_signal(_with_endpoint(layout, options)))
            else:
                asyncio.run(_until_signal(serve(layout, SystemClock(), until_idle=until_idle)))
    except AlreadyServed as error:
        fail(str(error))
    except OSError as error:
        fail(str(error))


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
    os.umask(0o077)
    service = asyncio.create_task(work, name="service")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, service.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await service


async def _with_endpoint(layout: Layout, options: EndpointOptions) -> None:
    from kobune.host.arm import endpoint  # Late: the background service of `up` does without.

    clock = SystemClock()
    async with endpoint(layout, clock, options) as described:
        typer.echo(
            f"kobune: Azure Resource Manager at {described.url}; `kobune az --help` says how to use it", err=True
        )
        await serve(layout, clock, until_idle=False)
