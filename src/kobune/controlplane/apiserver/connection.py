"""One client's connection: plain requests are read and answered here, everything else by aiohttp.

A plain request is HTTP/1.1 with a known length, no upgrade and no watch: nearly all there are. Reading one here costs a
third of what a general HTTP server needs. The first request of a connection that is not plain hands the connection over
to aiohttp, for good.
"""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.web_protocol import RequestHandler

from kobune.controlplane.apiserver.request import NOTHING, Request, Response, User

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 3 * 1024 * 1024  # Source: upstream MaxRequestBodyBytes.
MAX_HEAD_BYTES = 64 * 1024
GZIP_FROM_BYTES = 128 * 1024  # Source: upstream defaultGzipThresholdBytes.
SLICE_BYTES = 256 * 1024  # Of a large body, written before others get their turn.
WRITE_SECONDS = 60.0  # A client that takes nothing for so long is cut off.
BUSY_SECONDS = 3600.0
# How long a client is taken for whom its unchanged headers said it was. Source: upstream token cache.
KNOWN_SECONDS = 10.0
METHODS = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))
# Headers that make a request aiohttp's.
SPECIAL = (
    b"\r\nupgrade:",
    b"\r\ntransfer-encoding:",
    b"\r\nexpect:",
    b"\r\nconnection: close",
    b"\r\nconnection:close",
)
# Targets whose answers last: they are streams.
LASTING = (b"watch=", b"follow=", b"/proxy", b"/watch/", b"/exec", b"/attach", b"/portforward")
REASONS = {status.value: status.phrase for status in HTTPStatus}


class Plain(NamedTuple):
    """A plain request, whole."""

    method: bytes
    target: bytes
    head: bytes  # The header lines, each with the line break before it.
    body: bytes
    size: int  # Of all of it.


class NotPlain(Exception):
    """aiohttp must read on."""


class Front(web.Server):
    """Makes the connections of one server; their tasks belong to `tasks`."""

    def __init__(self, server: "ApiServer", tasks: asyncio.TaskGroup, handler: Any, **options: Any) -> None:
        super().__init__(handler, **options)
        self.server = server
        self.tasks = tasks

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(RequestHandler):
    __slots__ = ("_busy", "_certificate", "_front", "_held", "_known", "_known_until", "_known_user", "_plain")

    def __init__(self, front: Front, **options: Any) -> None:
        super().__init__(front, **options)
        self._front = front
        self._plain = True  # Until a request that is not plain.
        self._busy = False  # A request of ours is being answered.
        self._held = b""  # Read, but not yet whole or not yet its turn.
        self._certificate: bytes | None = None
        self._known, self._known_until = b"", 0.0
        self._known_user: User | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(True) if tls is not None else None

    def data_received(self, data: bytes) -> None:
        if not self._plain:
            super().data_received(data)
            return
        if self._held:
            data = self._held + data
            self._held = b""
        if self._busy:
            self._held = data
            if len(data) > MAX_BODY_BYTES and self.transport is not None:
                self.transport.pause_reading()
            return
        try:
            plain = read_plain(data)
        except NotPlain:
            self._plain = False
            super().data_received(data)
            return
        if plain is None:
            self._held = data
            return
        self._held = data[plain.size :]
        if not self._answer_now(plain):
            self._busy = True
            self._next_keepalive_close_time = self._loop.time() + BUSY_SECONDS
            self._front.tasks.create_task(self._answer(plain), name="request")
        elif self._held:
            self.data_received(b"")

    def _answer_now(self, plain: Plain) -> bool:
        """Answer a GET of one object without waiting for anything, if that is possible."""
        if plain.method != b"GET" or plain.head != self._known or b"?" in plain.target or b"%" in plain.target:
            return False
        now, transport = self._loop.time(), self.transport
        if now > self._known_until or transport is None or self._known_user is None:
            return False
        body = self._front.server.read_now(self._known_user, plain.target.decode("latin-1"))
        if body is None:
            return False
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache, private\r\n"
            b"Date: %b\r\nContent-Length: %d\r\n\r\n%b" % (rfc822_formatted_time().encode(), len(body), body)
        )
        self._next_keepalive_close_time = now + self._keepalive_timeout
        return True

    async def _answer(self, plain: Plain) -> None:
        try:
            request = request_of(plain, self._certificate, self.peername)
            response = await self._front.server.handle(request)
            await self._write(response, request.headers.get("accept-encoding", ""))
            if plain.method == b"GET" and response.status == 200 and can_be_known(request):
                self._know(plain.head, request.user)
        except (ConnectionError, TimeoutError):
            self.force_close()
        except Exception:  # One connection's trouble must not end the others, whose tasks are of the same group.
            log.exception("connection failed")
            self.force_close()
        finally:
            self._busy = False
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self._go_on()

    def _go_on(self) -> None:
        """Read what has come in the meantime."""
        if self.transport is None or self._force_close or not self._held:
            return
        if len(self._held) > MAX_BODY_BYTES:
            self.transport.resume_reading()
        self._loop.call_soon(self.data_received, b"")

    def _know(self, head: bytes, user: User | None) -> None:
        self._known, self._known_user = head, user
        self._known_until = self._loop.time() + KNOWN_SECONDS

    async def _write(self, response: Response, encodings: str) -> None:
        """Raises ConnectionError when the client has gone, TimeoutError when it takes nothing."""
        headers = {"Content-Type": response.content_type, "Cache-Control": "no-cache, private", **response.headers}
        body = response.body
        if not isinstance(body, bytes):
            await self._stream(response.status, headers, body)
            return
        if len(body) >= GZIP_FROM_BYTES and "gzip" in encodings:
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
            headers["Vary"] = "Accept-Encoding"
        headers["Content-Length"] = str(len(body))
        head = head_of(response.status, headers)
        transport = self._open_transport()
        if len(body) <= SLICE_BYTES:
            transport.write(head + body)
            return
        transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), SLICE_BYTES):
            self._open_transport().write(view[start : start + SLICE_BYTES])
            async with asyncio.timeout(WRITE_SECONDS):
                await self._drain_helper()

    async def _stream(self, status: int, headers: dict[str, str], chunks: AsyncIterator[bytes]) -> None:
        self._open_transport().write(head_of(status, {**headers, "Transfer-Encoding": "chunked"}))
        try:
            async for chunk in chunks:
                if chunk:
                    self._open_transport().write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    async with asyncio.timeout(WRITE_SECONDS):
                        await self._drain_helper()
            self._open_transport().write(b"0\r\n\r\n")
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    def _open_transport(self) -> asyncio.Transport:
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        return transport


def read_plain(data: bytes) -> Plain | None:
    """The first request in `data`; None while it is not whole. Raises NotPlain."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise NotPlain
        return None
    line_end = data.find(b"\r\n")
    parts = data[:line_end].split(b" ")
    if len(parts) != 3 or parts[0] not in METHODS or parts[2] != b"HTTP/1.1" or parts[1][:1] != b"/":
        raise NotPlain
    method, target, _ = parts
    if any(word in target for word in LASTING):
        raise NotPlain
    head = data[line_end:end]
    lower = head.lower()
    if any(word in lower for word in SPECIAL):
        raise NotPlain
    at = lower.find(b"\r\ncontent-length:")
    length = 0
    if at >= 0:
        digits = lower[at + 17 :].split(b"\r\n", 1)[0].strip()
        if not digits.isdigit() or b"\r\ncontent-length:" in lower[at + 17 :]:
            raise NotPlain
        length = int(digits)
        if length > MAX_BODY_BYTES:
            raise NotPlain  # The other way refuses it without reading it all.
    start = end + 4
    if len(data) < start + length:
        return None
    return Plain(method, target, head, data[start : start + length], start + length)


def request_of(plain: Plain, certificate: bytes | None, peer: Any) -> Request:
    """The request that the bytes mean."""
    headers: dict[str, str] = {}
    for line in plain.head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    path, _, query = plain.target.decode("latin-1").partition("?")
    repeated = parse_qsl(query, keep_blank_values=True) if query else []
    return Request(
        plain.method.decode(),
        unquote(path) if "%" in path else path,
        dict(reversed(repeated)) if repeated else NOTHING,
        headers,
        plain.body,
        repeated=repeated,
        certificate=certificate,
        remote=str(peer[0]) if isinstance(peer, tuple) else "",
    )


def can_be_known(request: Request) -> bool:
    """Whether equal headers will mean the same user and the plain form of answer."""
    headers = request.headers
    accept = headers.get("accept", "")
    return accept in ("", "*/*", "application/json") and "impersonate-user" not in headers


def head_of(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}", f"Date: {rfc822_formatted_time()}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8")
