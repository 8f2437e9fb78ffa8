"""HTTP/1.1 as bytes: plain requests read, and the heads of answers written."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from kobune.controlplane.apiserver.request import NOTHING, Request

# Headers that the HTTP client's library adds unasked. What is passed on for somebody goes without them: a body that came
# without a type would get a wrong one, and whoever does not read gzip would be sent some.
ADDED_BY_LIBRARY = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
MAX_BODY_BYTES = 3 * 1024 * 1024  # Source: upstream MaxRequestBodyBytes.
MAX_HEAD_BYTES = 64 * 1024
METHODS = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))
OTHER_METHODS = frozenset((b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE"))  # What there is besides is refused politely.
# Headers that make a request one for the general server.
SPECIAL = (b"\r\nupgrade:", b"\r\ntransfer-encoding:", b"\r\nexpect:")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
REASONS = {status.value: status.phrase for status in HTTPStatus}


class Headers(dict[str, str]):
    """By lower-case name; one that was sent several times has its values joined, and `getall` knows them one by one."""

    __slots__ = ("_repeated",)

    def __init__(self) -> None:
        self._repeated: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """A further value of a header that is there."""
        self._repeated.setdefault(name, [self[name]]).append(value)
        self[name] = f"{self[name]}, {value}"

    def getall(self, name: str, default: Sequence[str] = ()) -> Sequence[str]:
        if name not in self:
            return default
        return self._repeated.get(name) or [self[name]]


def all_values(headers: Mapping[str, str], name: str) -> list[str]:
    """The values of a header, one for each time it was sent."""
    many = getattr(headers, "getall", None)
    if many is not None:
        return list(many(name, ()))
    return [headers[name]] if name in headers else []


class Head:
    """The header lines of a plain request, read once for all requests of a connection that repeat them.

    Attributes:
        raw: the lines, each with the line break before it.
        length: of the body.
        last: the client wants the connection closed after it.
    """

    __slots__ = ("_headers", "last", "length", "raw")

    def __init__(self, raw: bytes) -> None:
        """Raises NotPlain."""
        lower = raw.lower()
        if any(word in lower for word in SPECIAL):
            raise NotPlain
        self.raw = raw
        self.length, digits = 0, _value(lower, b"\r\ncontent-length:")
        if digits is not None:
            if not digits.isdigit() or lower.count(b"\r\ncontent-length:") > 1:
                raise NotPlain
            self.length = int(digits)
            if self.length > MAX_BODY_BYTES:
                raise NotPlain  # The other way refuses it without reading it all.
        self.last = b"close" in (_value(lower, b"\r\nconnection:") or b"")
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        """Nobody changes them."""
        if self._headers is None:
            headers = self._headers = Headers()
            for line in self.raw.decode("latin-1").split("\r\n")[1:]:
                name, _, value = line.partition(":")
                key, text = name.lower(), value.strip()
                if key in headers:
                    headers.add(key, text)
                else:
                    headers[key] = text
        return self._headers


class Plain(NamedTuple):
    """A plain request, whole: HTTP/1.1 with a known length and no upgrade."""

    method: bytes
    target: bytes
    head: Head
    body: bytes
    size: int  # Of all of it.


class NotPlain(Exception):
    """The general server must read on."""


def read_plain(data: bytes, before: Head | None = None) -> Plain | None:
    """The first request in `data`; None while it is not whole.

    Args:
        before: the head of the connection's last request.
    Raises:
        NotPlain: the general server must read on.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise NotPlain
        return None
    line_end = data.find(b"\r\n")
    parts = data[:line_end].split(b" ")
    if len(parts) != 3 or parts[2] != b"HTTP/1.1" or parts[1][:1] != b"/":
        raise NotPlain
    method, target, _ = parts
    if method not in METHODS and (method in OTHER_METHODS or not method.isalpha() or not method.isupper()):
        raise NotPlain
    raw = data[line_end:end]
    head = before if before is not None and before.raw == raw else Head(raw)
    start = end + 4
    size = start + head.length
    return Plain(method, target, head, data[start:size], size) if len(data) >= size else None


def request_of(plain: Plain, certificate: bytes | None, peer: Any) -> Request:
    """The request that the bytes mean."""
    path, _, query = plain.target.decode("latin-1").partition("?")
    repeated = parse_qsl(query, keep_blank_values=True) if query else []
    return Request(
        plain.method.decode(),
        unquote(path) if "%" in path else path,
        dict(reversed(repeated)) if repeated else NOTHING,
        plain.head.headers,
        plain.body,
        repeated=repeated,
        certificate=certificate,
        remote=str(peer[0]) if isinstance(peer, tuple) else "",
    )


def date_of(moment: datetime) -> str:
    """A Date header's value; the moment is UTC. By hand, as the names must not follow the machine's language."""
    return f"{DAYS[moment.weekday()]}, {moment.day:02} {MONTHS[moment.month - 1]} {moment:%Y %H:%M:%S} GMT"


def head_of(status: int, date: str, headers: dict[str, str]) -> bytes:
    """The head of an answer, up to its body."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}", f"Date: {date}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8")


def plain_head(status: int, date: str, content_type: str, length: int, more: Mapping[str, str]) -> bytes:
    """The head of an answer that is sent as it is and after which the connection stays: nearly all there are."""
    own = "".join([f"{name}: {value}\r\n" for name, value in more.items()]) if more else ""
    return (
        f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\nDate: {date}\r\nContent-Type: {content_type}\r\n"
        f"Cache-Control: no-cache, private\r\n{own}Content-Length: {length}\r\n\r\n"
    ).encode()


def framed(pieces: Sequence[bytes]) -> bytes:
    """Some of a body whose length is not known before, as one chunk."""
    return b"".join((b"%x\r\n" % sum(map(len, pieces)), *pieces, b"\r\n"))


def _value(lower: bytes, name: bytes) -> bytes | None:
    """What the first header of that name says; None without one."""
    at = lower.find(name)
    if at < 0:
        return None
    at += len(name)
    end = lower.find(b"\r\n", at)
    return lower[at : end if end >= 0 else len(lower)].strip()
