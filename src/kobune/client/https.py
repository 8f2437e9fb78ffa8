"""The way to an API server over HTTPS, with a client certificate or a bearer token."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from kobune.api.clock import Clock, SystemClock
from kobune.api.errors import ServiceUnavailable
from kobune.client.client import error_of
from kobune.client.transport import NO_QUERY, Answer

# A token file is read again after so long; kubelets rotate them. Source: upstream client-go.
TOKEN_FRESH_SECONDS = 10.0
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=65)  # The server gives up after 60 s.
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=None)
# A watch may be silent for long, so the kernel finds out whether the peer is alive: first after 30 s, then 3 times.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 3))
# Compressing costs both ends more than a local network gains.
PLAIN = {"Accept-Encoding": "identity"}


class HttpsTransport:
    """One identity's connections to one API server; see `client/transport.py` for the promises.

    Args:
        server: base URL, "https://10.0.0.1:6443"; a path in it is kept as prefix.
        tls: from `tls_context`; None trusts the machine's authorities.
        token: sent as bearer token; `token_file` is read instead, and again when it is no longer fresh.
        tls_server_name: the name to expect in the server's certificate when it is not the URL's host.
    """

    def __init__(
        self,
        server: str,
        *,
        tls: ssl.SSLContext | None = None,
        token: str = "",
        token_file: Path | None = None,
        tls_server_name: str = "",
        user_agent: str = "kobune",
        connections: int = 100,
        clock: Clock | None = None,
    ) -> None:
        self.server = server.rstrip("/")
        self._tls: ssl.SSLContext | bool = tls or True
        self._server_name = tls_server_name or None
        self._token, self._token_file = token, token_file
        self._token_read = -TOKEN_FRESH_SECONDS
        self._user_agent = user_agent
        self._connections = connections
        self._clock = clock or SystemClock()
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """The whole answer, whatever its status. Raises ServiceUnavailable when the server cannot be reached."""
        headers = self._headers() | {"Accept": accept}
        if body:
            headers["Content-Type"] = content_type
        try:
            async with self._sessions().request(
                method,
                self._url(path, query),
                data=body or None,
                headers=headers,
                timeout=REQUEST_TIMEOUT,
                server_hostname=self._server_name,
                allow_redirects=False,
            ) as response:
                with _cutting(response):
                    return Answer(response.status, await response.read(), response.headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def stream(self, path: str, *, query: Mapping[str, str] = NO_QUERY) -> AsyncIterator[bytes]:
        """The frames of a watch, each one complete JSON document, until the server ends it."""
        try:
            async with self._sessions().get(
                self._url(path, query),
                headers=self._headers() | {"Accept": "application/json"},
                timeout=STREAM_TIMEOUT,
                server_hostname=self._server_name,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise error_of(Answer(response.status, await response.read(), response.headers))
                _keep_alive(response)
                rest = b""
                with _cutting(response):
                    async for chunk in response.content.iter_any():
                        *frames, rest = (rest + chunk).split(b"\n")
                        for frame in frames:
                            if frame:
                                yield frame
                if rest.strip():
                    yield rest
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _sessions(self) -> aiohttp.ClientSession:
        # Made here and not in __init__, because a session belongs to the running loop.
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls, limit=0, limit_per_host=self._connections)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self._session

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        return URL(f"{self.server}{path}?{urlencode(query)}" if query else self.server + path, encoded=True)

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent, **PLAIN}
        token = self._current_token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _current_token(self) -> str:
        now = self._clock.monotonic()
        if self._token_file is not None and now - self._token_read >= TOKEN_FRESH_SECONDS:
            try:
                self._token = self._token_file.read_text().strip()
            except OSError as error:
                if not self._token:
                    raise ServiceUnavailable(f"cannot read the token file: {error}") from error
            self._token_read = now
        return self._token

    def _unreachable(self, error: BaseException) -> ServiceUnavailable:
        return ServiceUnavailable(f"cannot reach {self.server}: {error or type(error).__name__}")


def tls_context(
    *, authority: str | bytes = "", certificate: Path | None = None, key: Path | None = None, verify: bool = True
) -> ssl.SSLContext:
    """TLS to a server vouched for by `authority` (PEM; empty: the machine's), as the client of `certificate` (PEM file)."""
    context = ssl.create_default_context(
        cadata=authority.decode() if isinstance(authority, bytes) else authority or None
    )
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _cutting(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Cut the connection of an answer that is given up halfway: closed politely it would wait for the server's farewell,
    and asyncio before 3.12.8 forgets the socket when the loop ends before that.

    Source: https://github.com/python/cpython/pull/118960.
    """
    try:
        yield
    finally:
        connection = response.connection  # None once the answer is whole.
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    transport: asyncio.BaseTransport | None = response.connection.transport if response.connection else None
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
