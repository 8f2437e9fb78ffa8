"""The end of a gRPC channel: nothing of its calls comes to the event loop any more.

Completions of all calls of a process pass one queue, whatever loop they belong to. One that comes after its own loop has
been closed raises in the loop that happens to run then, which may be somebody else's.
"""

import asyncio
import contextlib
from collections.abc import Iterable

import grpc.aio

LAST_SECONDS = 1.0  # For the other end to answer once more.
# No server offers it, and every one says so.
_LAST_CALL = "/kobune.Last/Call"


async def close_channel(channel: grpc.aio.Channel, calls: Iterable[grpc.aio.Call]) -> None:
    """Cancel the calls that are under way on the channel, wait until they are over, and close it."""
    for call in list(calls):
        call.cancel()
    # A cancelled call calls itself over at once, but its operations are not; on one connection they end before a call that
    # comes later is answered.
    with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError):
        await channel.unary_unary(_LAST_CALL)(b"", timeout=LAST_SECONDS)
    await channel.close()


def is_cancelled() -> bool:
    """Whether a CancelledError is meant for the task that sees it; else gRPC says by it that the call was cancelled."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
