"""`kobune serve`: the service in the foreground."""

import asyncio
import contextlib
import os
import signal
from typing import Annotated

import typer

from kobune.api.clock import SystemClock
from kobune.cli.output import fail
from kobune.cli.state import StateDir, layout_of
from kobune.host.layout import Layout
from kobune.host.logs import log_to_files
from kobune.host.service import AlreadyServed, hold_lock, serve


def command(
    *,
    state_dir: StateDir = None,
    until_idle: Annotated[bool, typer.Option(help="End when no cluster is to run any more.")] = False,
) -> None:
    """Keep clusters running; `up` starts it.

    What runs goes on when this ends, and is found again."""
    layout = layout_of(state_dir)
    try:
        with hold_lock(layout):
            log_to_files(layout.root / "logs")
            asyncio.run(_until_signal(layout, until_idle=until_idle))
    except AlreadyServed as error:
        fail(str(error))


async def _until_signal(layout: Layout, *, until_idle: bool) -> None:
    os.umask(0o077)
    service = asyncio.create_task(serve(layout, SystemClock(), until_idle=until_idle), name="service")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, service.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await service
