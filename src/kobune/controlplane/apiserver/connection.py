"""One client's connection: plain requests are read and answered here, everything else by the general server.

A plain request is HTTP/1.1 with a known length and no upgrade: nearly all there are, watches included. Reading one here
costs a third of what a general HTTP server needs. The first request of a connection that is not plain hands the
connection over, for good; the general server is imported when that first happens.
"""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from kobune.controlplane.apiserver.request import Part, Request, Response, User
from kobune.controlplane.apiserver.wire import (
    MAX_BODY_BYTES,
    Head,
    NotPlain,
    Plain,
    date_of,
    framed,
    head_of,
    plain_head,
    read_plain,
    request_of,
)
from kobune.controlplane.store.watchers import Frames

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.general import General
    from kobune.controlplane.apiserver.server import ApiServer

log = logging.getLogger(__name__)

GZIP_FROM_BYTES = 128 * 1024  # Source: upstream defaultGzipThresholdBytes.
SLICE_BYTES = 256 * 1024  # Of a large body, written before others get their turn.
WRITE_SECONDS = 60.0  # A client that takes nothing for so long is cut off.
IDLE_SECONDS = 300.0  # A connection without a request for so long is closed.
SWEEP_SECONDS = 30.0
GRACE_SECONDS = 1.0  # For requests under way when the server stops.
# A client that has asked so recently may be asking again when the server stops: it is answered once more, and told to go.
LINGER_SECONDS = 0.25
# How long a client is taken for whom its unchanged headers said it was. Source: upstream token cache.
KNOWN_SECONDS = 10.0


class Front:
    """Makes the connections of one server; their tasks belong to `tasks`."""

    def __init__(self, server: "ApiServer", tasks: asyncio.TaskGroup) -> None:
        self.server = server
        self.tasks = tasks
        self.open: set[Connection] = set()
        self._general: General | None = None
        self._date, self._date_until = "", 0.0
        self._due: dict[Connection, list[Frames]] = {}
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> "Connection":
        return Connection(self, self._loop)

    def date(self, now: float) -> str:
        """The Date header, at a time of the event loop."""
        if now >= self._date_until:
            moment = self.server.clock.now()
            self._date, self._date_until = date_of(moment), now + 1 - moment.microsecond / 1e6
        return self._date

    def send_soon(self, connection: "Connection", frames: Frames) -> None:
        """Send frames after all others, and after the answers that are ready: writers wait for these, and write again."""
        if not self._due:
            self._loop.call_soon(self._send_due)
        self._due.setdefault(connection, []).append(frames)

    def _send_due(self) -> None:
        due, self._due = self._due, {}
        last: list[Frames] = []
        data = b""
        for connection, batches in due.items():
            # Many watchers get the same, which is joined and framed once.
            if batches != last:
                last, data = batches, framed([frame for batch in batches for frame in batch])
            connection.send(data)

    async def general(self) -> "General":
        """The server for what is not plain."""
        if self._general is None:
            # In a thread: other clients need not wait while its library is read.
            module = await asyncio.to_thread(import_module, "kobune.controlplane.apiserver.general")
            self._general = self._general or module.General(self.server)
        return self._general

    async def sweep(self) -> None:
        """Close idle connections again and again, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            before = self._loop.time() - IDLE_SECONDS
            for connection in tuple(self.open):
                connection.close_if_idle_since(before)

    async def close(self) -> None:
        """Close all connections; answers under way may still be finished, streams end at once."""
        began = self._loop.time()
        for connection in tuple(self.open):
            connection.finish(began - LINGER_SECONDS)
        general = self._general
        if general is not None:
            await general.close(GRACE_SECONDS)
        lingering = True
        while self.open and self._loop.time() < began + GRACE_SECONDS:
            await asyncio.sleep(0.01)
            if lingering and self._loop.time() > began + LINGER_SECONDS:
                lingering = False
                for connection in tuple(self.open):
                    connection.close_if_idle_since(self._loop.time())
        # A client that does not answer the farewell of TLS must not hold us.
        for connection in tuple(self.open):
            connection.abort()


class Connection(asyncio.Protocol):
    __slots__ = (
        "_blocked", "_certificate", "_ending", "_front", "_head", "_held", "_idle_since", "_known", "_known_until", "_known_user",
        "_last", "_loop", "_peer", "_streaming", "_task", "_transport",
    )  # fmt: skip

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop) -> None:
        self._front = front
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None  # Answers a request, or hands the connection over.
        self._streaming = False  # The answer lasts until somebody ends it.
        self._ending = False  # No further request will be read.
        self._last = False  # The next request will be the last.
        self._held = b""  # Read, but not yet whole or not yet its turn.
        self._blocked: asyncio.Future[None] | None = None  # The client is slower than we.
        self._certificate: bytes | None = None
        self._peer: Any = None
        self._idle_since = loop.time()
        self._head: Head | None = None  # Of the last request.
        self._known, self._known_until = b"", 0.0
        self._known_user: User | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(True) if tls is not None else None
        self._peer = transport.get_extra_info("peername")
        admits = self._front.server.config.admits_connection
        if admits is not None and not admits(self._peer[0], self._certificate):
            self._ending = True
            self._transport.abort()
            return
        self._front.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._front.open.discard(self)
        self._transport = None
        if self._blocked is not None and not self._blocked.done():
            self._blocked.set_result(None)  # Whoever waits finds the transport gone.
        if self._streaming and self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
            self._held = b""
        if self._task is not None or self._ending:
            self._held = data
            if len(data) > MAX_BODY_BYTES and self._transport is not None:
                self._transport.pause_reading()
            return
        try:
            plain = read_plain(data, self._head)
        except NotPlain:
            self._held = data
            self._task = self._front.tasks.create_task(self._hand_over(), name="handing over")
            return
        if plain is None:
            self._held = data
            return
        self._held, self._head = data[plain.size :], plain.head
        if not self._answer_now(plain):
            self._ending = plain.head.last or self._last
            self._task = self._front.tasks.create_task(self._answer(plain), name="request")
        elif self._held:
            self.data_received(b"")

    def close_if_idle_since(self, before: float) -> None:
        transport = self._transport
        # Not twice: asyncio's TLS transports then no longer obey abort().
        if self._task is None and self._idle_since < before and transport is not None and not transport.is_closing():
            transport.close()

    def finish(self, idle_since: float) -> None:
        """Close the connection after the answer under way; at once when it has been idle since then, or streams.

        The client of one that was idle for less may have sent a request that we have not seen.
        """
        self._last = True
        if self._task is not None:
            self._ending = True
            if self._streaming:
                self._task.cancel()
        elif not self._held:
            self.close_if_idle_since(idle_since)

    def takes(self, frames: Frames) -> bool:
        """Whether the frames of the watch under way are sent without its task; that waits for a slow client."""
        if self._blocked is not None:
            return False
        self._front.send_soon(self, frames)
        return True

    def send(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _answer_now(self, plain: Plain) -> bool:
        """Answer a GET of one object without waiting for anything, if that is possible."""
        if (
            plain.method != b"GET"
            or self._last
            or plain.head.raw != self._known
            or b"?" in plain.target
            or b"%" in plain.target
        ):
            return False
        now, transport = self._loop.time(), self._transport
        if now > self._known_until or transport is None or self._known_user is None or self._blocked is not None:
            return False
        found = self._front.server.read_now(self._known_user, plain.target.decode("latin-1"))
        if found is None:
            return False
        lines, body = found
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache, private\r\n"
            b"Date: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (self._front.date(now).encode(), lines, len(body), body)
        )
        self._idle_since = now
        return True

    async def _answer(self, plain: Plain) -> None:
        try:
            request = request_of(plain, self._certificate, self._peer)
            response = await self._front.server.handle(request)
            await self._write(response, request.headers.get("accept-encoding", ""))
            if plain.method == b"GET" and response.status == 200 and not plain.head.last and can_be_known(request):
                self._know(plain.head.raw, request.user)
        except (ConnectionError, TimeoutError):
            self._force_close()
        except asyncio.CancelledError:
            self._force_close()
            raise
        except Exception:  # One connection's trouble must not end the others, whose tasks are of the same group.
            log.exception("connection failed")
            self._force_close()
        finally:
            self._task, self._streaming = None, False
            self._idle_since = self._loop.time()
            self._go_on()

    async def _hand_over(self) -> None:
        """Let the general server read on, from what is held."""
        try:
            if self._transport is not None:
                self._transport.pause_reading()
            general = await self._front.general()
        except BaseException:
            self._force_close()
            raise
        transport, self._task = self._transport, None
        if transport is None or self._ending:
            self._force_close()
            return
        self._front.open.discard(self)
        general.take(transport, self._held)
        transport.resume_reading()

    def _go_on(self) -> None:
        """Read what has come in the meantime."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._ending:
            transport.close()
        elif self._held:
            if len(self._held) > MAX_BODY_BYTES:
                transport.resume_reading()
            self._loop.call_soon(self._read_held)

    def _read_held(self) -> None:
        # Unless somebody else was faster: data that came has taken what was held along.
        if self._held and self._task is None:
            self.data_received(b"")

    def _know(self, head: bytes, user: User | None) -> None:
        self._known, self._known_user = head, user
        self._known_until = self._loop.time() + KNOWN_SECONDS

    async def _write(self, response: Response, encodings: str) -> None:
        """Raises ConnectionError when the client has gone, TimeoutError when it takes nothing."""
        body = response.body
        own = response.headers
        if isinstance(body, bytes) and len(body) < GZIP_FROM_BYTES and not self._ending and "Cache-Control" not in own:
            date = self._front.date(self._loop.time())
            head = plain_head(response.status, date, response.content_type, len(body), own)
            self._open_transport().write(head + body)
            await self._drain()
            return
        headers = {"Content-Type": response.content_type, "Cache-Control": "no-cache, private", **response.headers}
        if self._ending:
            headers["Connection"] = "close"
        if not isinstance(body, bytes):
            if response.watcher is not None:
                response.watcher.short_way = self.takes
            await self._stream(response.status, headers, body)
            return
        if len(body) >= GZIP_FROM_BYTES and "gzip" in encodings:
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
            headers["Vary"] = "Accept-Encoding"
        headers["Content-Length"] = str(len(body))
        head = head_of(response.status, self._front.date(self._loop.time()), headers)
        transport = self._open_transport()
        if len(body) <= SLICE_BYTES:
            transport.write(head + body)
            return
        transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), SLICE_BYTES):
            self._open_transport().write(view[start : start + SLICE_BYTES])
            await self._drain()

    async def _stream(self, status: int, headers: dict[str, str], parts: AsyncIterator[Part]) -> None:
        headers["Transfer-Encoding"] = "chunked"
        self._streaming = True
        try:
            self._open_transport().write(head_of(status, self._front.date(self._loop.time()), headers))
            async for part in parts:
                if part:
                    self._open_transport().write(framed((part,) if isinstance(part, bytes) else part))
                    await self._drain()
            self._open_transport().write(b"0\r\n\r\n")
        finally:
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()

    async def _drain(self) -> None:
        """Wait until the client has taken most of what was written. Raises as `_write` does."""
        if self._blocked is not None:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._blocked

    def _open_transport(self) -> asyncio.Transport:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        return transport

    def _force_close(self) -> None:
        self._ending = True
        if self._transport is not None:
            self._transport.abort()


def can_be_known(request: Request) -> bool:
    """Whether equal headers will mean the same user and the plain form of answer."""
    headers = request.headers
    accept = headers.get("accept", "")
    return accept in ("", "*/*", "application/json") and "impersonate-user" not in headers
