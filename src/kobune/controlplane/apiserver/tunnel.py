"""Connections that change their protocol (SPDY, WebSocket), passed through byte by byte to whom the request is for.

Source: upstream apimachinery proxy.UpgradeAwareHandler.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from kobune.controlplane.apiserver.request import Request, Response

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.services.endpoints import Endpoint

CONNECT_SECONDS = 5.0
REFUSAL_SECONDS = 10.0  # For the rest of an answer that is no upgrade. Source: upstream.
PIECE_BYTES = 64 * 1024
SWITCHING = 101
BEARER = "base64url.bearer.authorization.k8s.io."  # How browsers send their token, which goes to nobody else.


class Tunnel:
    """An opened way to a backend that has answered with `head`; `join` it to the client's connection."""

    def __init__(self, status: int, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = status
        self._head = head
        self._reader = reader
        self._writer = writer

    async def join(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Until one side closes: then the other is closed as well. Returns what the front end may say: nothing."""
        said = web.StreamResponse(status=self.status)
        said.force_close()
        try:
            transport = incoming.transport
            if isinstance(transport, asyncio.Transport):
                await self._pass(transport)
        finally:
            self._writer.close()
        return said

    async def _pass(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = _Taken(reader, transport.get_protocol())
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        client = asyncio.StreamWriter(transport, protocol, reader, loop)
        client.write(self._head)
        try:
            if self.status != SWITCHING:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REFUSAL_SECONDS):
                        await _copy(self._reader, client, _length_of(self._head))
                return
            async with asyncio.TaskGroup() as tasks:
                copies = (
                    tasks.create_task(_copy(self._reader, client), name="tunnel to client"),
                    tasks.create_task(_copy(reader, self._writer), name="tunnel to backend"),
                )
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                for one in copies:
                    one.cancel()
        finally:
            client.close()


class _Taken(asyncio.StreamReaderProtocol):
    """The client's connection, taken from a server that still wants to hear of its end."""

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._before = before

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._before.connection_lost(error)


async def open_tunnel(
    request: Request,
    endpoint: "Endpoint",
    target: str,
    headers: Sequence[tuple[str, str]],
    *,
    tls: ssl.SSLContext | None,
    server_name: str | None = None,
) -> Response:
    """The backend's answer to the upgrade, to be joined to the client's connection by the front end.

    Args:
        target: path and query, as they are sent.
        headers: all but Host, Connection, Upgrade and Content-Length.

    Raises:
        OSError, TimeoutError: nobody answers. ValueError: what answers speaks no HTTP, or a header cannot be sent.
    """
    head = _head(request, endpoint.authority, target, headers)
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(
            endpoint.host, endpoint.port, ssl=tls, server_hostname=server_name if tls else None
        )
    try:
        writer.write(head + request.body)
        answered = await reader.readuntil(b"\r\n\r\n")
        status = _status(answered)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise ValueError("no answer to the request for another protocol") from error
    except BaseException:
        writer.close()
        raise
    return Response(status, taken=Tunnel(status, answered, reader, writer))


def wants_upgrade(request: Request) -> bool:
    """Whether the client asks for another protocol, on a connection that can be taken over."""
    if "upgrade" not in request.headers or not isinstance(request.connection, web.BaseRequest):
        return False
    return "upgrade" in (request.headers.get("connection") or "").lower()


def _head(request: Request, host: str, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [("Host", host), ("Connection", "Upgrade"), ("Upgrade", request.headers["upgrade"])]
    for name, value in headers:
        if name.lower() == "sec-websocket-protocol":
            value = ", ".join(one for one in map(str.strip, value.split(",")) if not one.startswith(BEARER))
        if value or name.lower() != "sec-websocket-protocol":
            lines.append((name, value))
    if request.body or request.method not in ("GET", "HEAD"):
        lines.append(("Content-Length", str(len(request.body))))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    if text.count("\r") != len(lines) or text.count("\n") != len(lines) or "\0" in text:
        raise ValueError("a header has a line break")  # A name could smuggle in another request.
    return f"{request.method} {target} HTTP/1.1\r\n{text}\r\n".encode()


def _status(head: bytes) -> int:
    """Raises ValueError."""
    parts = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or len(parts[1]) != 3 or not parts[1].isdigit():
        raise ValueError("malformed HTTP response")
    return int(parts[1])


def _length_of(head: bytes) -> int | None:
    """How long the body is said to be; None: until the connection ends."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return None


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, length: int | None = None) -> None:
    """Until the source ends, or so many bytes were copied, or the target has gone."""
    left = length
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while left is None or left > 0:
            piece = await source.read(PIECE_BYTES if left is None else min(left, PIECE_BYTES))
            if not piece:
                return
            target.write(piece)
            await target.drain()
            if left is not None:
                left -= len(piece)
