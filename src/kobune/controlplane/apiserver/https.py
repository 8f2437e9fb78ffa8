"""The HTTPS front end: a listening socket whose connections bring requests to the server."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kobune.controlplane.apiserver.connection import Front

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


@contextlib.asynccontextmanager
async def serve(
    server: "ApiServer",
    *,
    host: str | None = None,
    port: int | None = None,
    sock: socket.socket | None = None,
    tls: ssl.SSLContext | None,
) -> AsyncIterator[tuple[str, int]]:
    """Answer HTTPS requests until the block is left; the address listened on (port 0 picks one).

    Args:
        sock: a socket already bound, instead of `host` and `port`.

    Raises:
        OSError: the port is in use.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        front = Front(server, tasks)
        if sock is not None:
            listener = await loop.create_server(front, sock=sock, ssl=tls, backlog=1024)
        else:
            listener = await loop.create_server(front, host, port or 0, ssl=tls, backlog=1024, reuse_address=True)
        sweeping = tasks.create_task(front.sweep(), name="idle connections")
        try:
            address = listener.sockets[0].getsockname()
            yield address[0], address[1]
        finally:
            listener.close()
            sweeping.cancel()
            await front.close()
