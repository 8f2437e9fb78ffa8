"""How a long-lived process of ours runs its event loop."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop."""
    import uvloop

    uvloop.run(work)


@contextlib.contextmanager
def patient_collector() -> Iterator[None]:
    """Look for garbage in cycles more rarely.

    A control plane's many objects live long and form no cycles; with Python's defaults, going over them all again and
    again was 40 per cent of its work while a large cluster came up.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def signalled() -> None:
    """Return on SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def until_signalled(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends or SIGINT or SIGTERM comes; raises what it raises."""
    running = asyncio.ensure_future(work())
    waiting = asyncio.ensure_future(signalled())
    try:
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
