"""SPDY/3.1, the client's half: the protocol of CRI streaming servers, the only one of theirs that can end stdin.

Flow control is left to TCP, as Kubernetes' own implementation leaves it.
Source: SPDY Protocol Draft 3.1, sections 2.2 (frames), 2.6 (control frames) and 2.6.10 (header compression).
"""

import asyncio
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
MAX_DATA_BYTES = 1 << 15  # Per frame; the protocol allows 16 MiB, small frames keep the others waiting less.

# The words both sides' compressors start with, each preceded by its length, then loose text. Source: section 2.6.10.1.
_WORDS = [
    *[
        "options",
        "head",
        "post",
        "put",
        "delete",
        "trace",
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "accept-ranges",
        "age",
        "allow",
        "authorization",
        "cache-control",
        "connection",
        "content-base",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-md5",
        "content-range",
        "content-type",
        "date",
        "etag",
        "expect",
        "expires",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "referer",
        "retry-after",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "vary",
        "via",
        "warning",
        "www-authenticate",
        "method",
        "get",
        "status",
    ],
    "200 OK",
    *["version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"],
]
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _TEXT.encode()


class Data(NamedTuple):
    """Bytes of one stream; `last` when the other side will send no more on it."""

    stream: int
    data: bytes
    last: bool


class Session:
    """A SPDY connection whose streams we open. One task may read while others write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._compress = zlib.compressobj(zdict=DICTIONARY)
        self._next_stream = 1  # A client's streams have odd numbers.

    def open_stream(self, headers: Mapping[str, str]) -> int:
        """The number of a new stream; header names in lower case."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        plain = struct.pack(">I", len(headers)) + b"".join(
            _counted(name) + _counted(value) for name, value in headers.items()
        )
        block = self._compress.compress(plain) + self._compress.flush(zlib.Z_SYNC_FLUSH)
        self._control(SYN_STREAM, struct.pack(">IIBB", stream, 0, 0, 0) + block)
        return stream

    async def send(self, stream: int, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA_BYTES):
            piece = data[start : start + MAX_DATA_BYTES]
            self._writer.write(struct.pack(">II", stream, len(piece)) + piece)
        await self._writer.drain()

    async def finish(self, stream: int) -> None:
        """Nothing more will be sent on `stream`."""
        self._writer.write(struct.pack(">II", stream, FIN << 24))
        await self._writer.drain()

    async def receive(self) -> Data | None:
        """The next piece of any stream, or None at the end of the connection."""
        while True:
            try:
                first, second = struct.unpack(">II", await self._reader.readexactly(8))
                payload = await self._reader.readexactly(second & 0xFFFFFF)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            flags = second >> 24
            if not first >> 31:
                return Data(first, payload, bool(flags & FIN))
            kind = first & 0xFFFF
            if kind == PING:
                self._control(PING, payload)
            elif kind == RST_STREAM or (kind == SYN_REPLY and flags & FIN):
                return Data(struct.unpack(">I", payload[:4])[0] & 0x7FFFFFFF, b"", last=True)
            elif kind == GOAWAY:
                return None

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return  # It was already gone, which is as good.

    def _control(self, kind: int, payload: bytes) -> None:
        self._writer.write(struct.pack(">HHI", 0x8003, kind, len(payload)) + payload)


def _counted(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw
