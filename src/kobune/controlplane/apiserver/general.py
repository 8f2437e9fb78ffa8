"""The general HTTP server, for what is not plain: aiohttp's parser and WebSockets, without its router and middleware."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aiohttp import web

from kobune.api.errors import RequestEntityTooLarge
from kobune.controlplane.apiserver.answers import failure
from kobune.controlplane.apiserver.connection import (
    GZIP_FROM_BYTES,
    IDLE_SECONDS,
    SLICE_BYTES,
    WRITE_SECONDS,
)
from kobune.controlplane.apiserver.request import NOTHING, Part, Request, Response
from kobune.controlplane.apiserver.tunnel import Tunnel
from kobune.controlplane.apiserver.wire import MAX_BODY_BYTES

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


class General:
    """Answers requests of any form, on connections that are handed to it."""

    def __init__(self, server: "ApiServer") -> None:
        self._http = web.Server(
            Handler(server).handle, access_log=None, keepalive_timeout=IDLE_SECONDS, handler_cancellation=True
        )

    def take(self, transport: asyncio.Transport, data: bytes) -> None:
        """Read on from `data`, which the client has sent already."""
        protocol = self._http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    async def close(self, seconds: float) -> None:
        """Close the connections; answers under way get so long."""
        left = [connection.transport for connection in self._http.connections]
        await self._http.shutdown(timeout=seconds)
        # A client that does not answer the farewell of TLS must not hold us.
        for transport in left:
            if transport is not None:
                transport.abort()


class Handler:
    """Turns aiohttp's requests into ours and our responses into bytes on the wire."""

    def __init__(self, server: "ApiServer") -> None:
        self._server = server

    async def handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        transport = incoming.transport
        headers = incoming.headers
        raw_path, _, raw_query = incoming.raw_path.partition("?")
        body = b""
        if incoming.can_read_body:
            read = await _read_body(incoming)
            if read is None:
                return await self._answer(incoming, failure(_too_large()))
            body = read
        repeated = parse_qsl(raw_query, keep_blank_values=True) if raw_query else ()
        request = Request(
            incoming.method,
            incoming.path if "%" in raw_path else raw_path,
            dict(reversed(repeated)) if repeated else NOTHING,
            headers,
            body,
            repeated=repeated,
            certificate=_peer_certificate(transport),
            remote=incoming.remote or "",
            connection=incoming,
        )
        response = await self._server.handle(request)
        if isinstance(response.taken, web.StreamResponse):
            return response.taken
        if isinstance(response.taken, Tunnel):
            return await response.taken.join(incoming)
        return await self._answer(incoming, response)

    async def _answer(self, incoming: web.BaseRequest, response: Response) -> web.StreamResponse:
        headers = {"Content-Type": response.content_type, "Cache-Control": "no-cache, private", **response.headers}
        body = response.body
        if not isinstance(body, bytes):
            return await _stream(incoming, response.status, headers, body)
        if len(body) >= GZIP_FROM_BYTES:
            if "gzip" in (incoming.headers.get("accept-encoding") or ""):
                body = await asyncio.to_thread(gzip.compress, body, 1)
                headers["Content-Encoding"] = "gzip"
                headers["Vary"] = "Accept-Encoding"
            elif len(body) > SLICE_BYTES:
                return await _slices(incoming, response.status, headers, body)
        return web.Response(status=response.status, headers=headers, body=body)


async def _read_body(incoming: web.BaseRequest) -> bytes | None:
    """The body; None when it is too large."""
    if (incoming.content_length or 0) > MAX_BODY_BYTES:
        return None
    chunks, size = [], 0
    async for chunk in incoming.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _slices(
    incoming: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(incoming)
    view = memoryview(body)
    for start in range(0, len(body), SLICE_BYTES):
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(view[start : start + SLICE_BYTES])
    await response.write_eof()
    return response


async def _stream(
    incoming: web.BaseRequest, status: int, headers: Mapping[str, str], parts: AsyncIterator[Part]
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.enable_chunked_encoding()
    try:
        await response.prepare(incoming)
        async for part in parts:
            async with asyncio.timeout(WRITE_SECONDS):
                await response.write(part if isinstance(part, bytes) else part.whole)
        await response.write_eof()
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()
    return response


def _peer_certificate(transport: asyncio.Transport | None) -> bytes | None:
    if transport is None:
        return None
    connection = transport.get_extra_info("ssl_object")
    certificate: bytes | None = connection.getpeercert(True) if connection is not None else None
    return certificate


def _too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY_BYTES}")
