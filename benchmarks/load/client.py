"""Clients that cost little: requests over keep-alive connections, and watches whose events are counted, not read."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import cast

from load.server import Server

LAST_CHUNK = b"\r\n0\r\n\r\n"
RETURN = ord("\r")


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends what `next_request` gives as soon as the answer before is complete."""

    def __init__(self, next_request: Callable[[], bytes | None]) -> None:
        self._next = next_request
        self._head = b""
        self._missing = -1  # Bytes of the body; -1: still reading the head.
        self._tail: bytes | None = None  # The last bytes of a body that comes in chunks.
        self.answers = self.bytes = self.failures = 0
        self.done = asyncio.get_running_loop().create_future()
        self._sent = 0.0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, rest = self._head[:end].lower(), self._head[end + 4 :]
            if head[9:10] != b"2":
                self.failures += 1
            if b"transfer-encoding: chunked" in head:
                self._missing, self._tail, data = 1, b"", rest
            else:
                at = head.index(b"content-length:") + 15
                self._missing = int(head[at:].split(b"\r\n", 1)[0]) - len(rest)
        elif self._tail is None:
            self._missing -= len(data)
        if self._tail is not None:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            if self._tail == LAST_CHUNK:
                self._missing, self._tail = 0, None
        if self._missing <= 0:
            self._head, self._missing = b"", -1
            self.answers += 1
            self.latencies.append(time.perf_counter() - self._sent)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        data = self._next()
        if data is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(data)


class Watch(asyncio.BufferedProtocol):
    """One watch: `events` have come. What is read goes into one buffer that all watches of this process use in turn."""

    _room = bytearray(1 << 20)

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._last = RETURN  # Of what was read before.
        self.events = 0
        self.bytes = 0
        self.lost = False
        self._wanted = 0
        self._reached: asyncio.Future[None] | None = None
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._data)

    def get_buffer(self, size_hint: int) -> bytearray:
        return self._room

    def buffer_updated(self, count: int) -> None:
        """An event ends with a line feed; every other line feed, of the head and around chunks, follows a return."""
        room, events = self._room, self.events
        at = room.find(b"\n", 0, count)
        while at >= 0:
            if (room[at - 1] if at else self._last) != RETURN:
                events += 1
            at = room.find(b"\n", at + 1, count)
        self._last = room[count - 1]
        self.events = events
        self.bytes += count
        if not self.opened.done():
            self.opened.set_result(bytes(room[:count]))
        if self._reached is not None and events >= self._wanted and not self._reached.done():
            self._reached.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._reached is not None and not self._reached.done():
            self._reached.set_exception(ConnectionResetError("the watch has ended"))

    async def have(self, events: int) -> None:
        """Return when so many have come altogether."""
        if self.events < events:
            self._wanted, self._reached = events, asyncio.get_running_loop().create_future()
            await self._reached


async def open_watch(server: Server, data: bytes) -> Watch:
    """A watch whose answer has begun."""
    _, watch = await asyncio.get_running_loop().create_connection(
        lambda: Watch(data), server.host, server.port, ssl=server.tls
    )
    head = await watch.opened
    assert head.startswith(b"HTTP/1.1 200"), head
    return watch


async def load(server: Server, connections: int, seconds: float, make: Callable[[], bytes | None]) -> dict[str, float]:
    """Keep `connections` busy; what came of it, and the processor time that each answer cost either side."""
    loop, spent, own = asyncio.get_running_loop(), server.cpu_seconds(), cpu_seconds()
    end = time.perf_counter() + seconds

    def next_request() -> bytes | None:
        return make() if time.perf_counter() < end else None

    start = time.perf_counter()
    pairs = [
        await loop.create_connection(lambda: Connection(next_request), server.host, server.port, ssl=server.tls)
        for _ in range(connections)
    ]
    opened = [connection for _, connection in pairs]
    for connection in opened:
        await connection.done
    took = time.perf_counter() - start
    answers = sum(connection.answers for connection in opened)
    latencies = sorted(one for connection in opened for one in connection.latencies)
    return {
        "per_second": round(answers / took),
        "MB_per_second": round(sum(connection.bytes for connection in opened) / took / 1e6, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 2),
        "server_cpu_us": round((server.cpu_seconds() - spent) / max(answers, 1) * 1e6, 1),
        "client_cpu_us": round((cpu_seconds() - own) / max(answers, 1) * 1e6, 1),
        "failures": sum(connection.failures for connection in opened),
    }


async def call(server: Server, data: bytes) -> bytes:
    """One answer's head and body."""
    reader, writer = await asyncio.open_connection(server.host, server.port, ssl=server.tls)
    writer.write(data.replace(b"Accept:", b"Connection: close\r\nAccept:", 1))
    answer = await reader.read()
    writer.close()
    return answer


def cpu_seconds() -> float:
    """What this process has spent."""
    spent = os.times()
    return spent.user + spent.system
