"""SPDY/3.1, the server's half, over any carrier of bytes: what kubectl speaks inside a WebSocket to forward ports.

Flow control is left to the carrier, as Kubernetes' own implementation leaves it.
Source: SPDY Protocol Draft 3.1, sections 2.2 (frames), 2.6 (control frames) and 2.6.10 (header compression).
"""

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from kobune.node.runtime.spdy import DICTIONARY, FIN, GOAWAY, MAX_DATA_BYTES, PING, RST_STREAM, SYN_REPLY, SYN_STREAM

Send = Callable[[bytes], Awaitable[None]]
WAITING_PIECES = 64  # Per stream, before the carrier is no longer read.


@dataclass(slots=True)
class TunnelStream:
    """A stream that the client has opened; `None` in `received` is its end."""

    number: int
    headers: Mapping[str, str]
    received: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(WAITING_PIECES))
    ended: bool = False  # The client sends no more.


class Tunnel:
    """One SPDY connection.

    Args:
        send: puts bytes on the carrier.
        on_stream: told of each new stream.
    """

    def __init__(self, send: Send, on_stream: Callable[[TunnelStream], None]) -> None:
        self._carrier = send
        self._on_stream = on_stream
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._buffer = bytearray()
        self._streams: dict[int, TunnelStream] = {}
        self._sending = asyncio.Lock()

    async def feed(self, data: bytes) -> bool:
        """Take in what the carrier brought; False when the client has said goodbye."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            size = second & 0xFFFFFF
            if len(self._buffer) < 8 + size:
                break
            payload = bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            flags = second >> 24
            if not first >> 31:
                await self._data(first, payload, last=bool(flags & FIN))
            elif not await self._control(first & 0xFFFF, flags, payload):
                return False
        return True

    async def end(self) -> None:
        """The carrier is gone: so is every stream."""
        for stream in list(self._streams.values()):
            await self._finish_receiving(stream)

    async def send(self, stream: TunnelStream, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA_BYTES):
            piece = data[start : start + MAX_DATA_BYTES]
            await self._put(struct.pack(">II", stream.number, len(piece)) + piece)

    async def finish(self, stream: TunnelStream) -> None:
        """Nothing more will be sent on the stream."""
        await self._put(struct.pack(">II", stream.number, FIN << 24))

    async def reset(self, stream: TunnelStream) -> None:
        """The stream is over, both ways."""
        self._streams.pop(stream.number, None)
        await self._put(_control_frame(RST_STREAM, struct.pack(">II", stream.number, 5)))  # 5: CANCEL.

    def forget(self, stream: TunnelStream) -> None:
        self._streams.pop(stream.number, None)

    async def _data(self, number: int, payload: bytes, *, last: bool) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            return
        if payload:
            await stream.received.put(payload)
        if last:
            await self._finish_receiving(stream)

    async def _finish_receiving(self, stream: TunnelStream) -> None:
        if not stream.ended:
            stream.ended = True
            await stream.received.put(None)

    async def _control(self, kind: int, flags: int, payload: bytes) -> bool:
        if kind == SYN_STREAM:
            number = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
            stream = TunnelStream(number, _headers(self._inflate.decompress(payload[10:])))
            self._streams[number] = stream
            empty = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            await self._put(_control_frame(SYN_REPLY, struct.pack(">I", number) + empty))
            if flags & FIN:
                await self._finish_receiving(stream)
            self._on_stream(stream)
        elif kind == RST_STREAM:
            gone = self._streams.pop(struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF, None)
            if gone is not None:
                await self._finish_receiving(gone)
        elif kind == PING:
            await self._put(_control_frame(PING, payload))
        elif kind == GOAWAY:
            return False
        return True

    async def _put(self, frame: bytes) -> None:
        # Several streams send at once, and a frame must not be cut in two.
        async with self._sending:
            await self._carrier(frame)


def _control_frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, len(payload)) + payload


def _headers(block: bytes) -> dict[str, str]:
    """Names in lower case, as the protocol has them."""
    (count,) = struct.unpack_from(">I", block)
    at, texts = 4, []
    for _ in range(2 * count):
        (size,) = struct.unpack_from(">I", block, at)
        texts.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}
