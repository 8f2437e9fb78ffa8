"""Requests passed on to the servers that answer aggregated versions, in the name of whoever asks.

Source: upstream kube-aggregator handler_proxy.go, client-go transport.SetAuthProxyHeaders.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from kobune.controlplane.apiserver.aggregation.remote import Remote
from kobune.controlplane.apiserver.config import FrontProxy
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.request import Request, Response, User
from kobune.controlplane.apiserver.services.endpoints import Unreachable, find_endpoint
from kobune.controlplane.apiserver.wire import ADDED_BY_LIBRARY

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 5.0
CHECK_SECONDS = 5.0  # Source: upstream, the discovery client's timeout.
ASKER = User("system:kube-aggregator", groups=("system:masters",))
# What concerns one connection, and what would give the client's rights away.
KEPT_BACK = frozenset(
    {
        "authorization", "connection", "content-length", "host", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "te", "trailers", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class Forwarder:
    """One HTTP client for all aggregated servers, made at first use."""

    def __init__(self, registry: Registry, front_proxy: FrontProxy | None) -> None:
        self._registry = registry
        self._front_proxy = front_proxy
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def forward(self, remote: Remote, request: Request) -> Response:
        """The remote's answer, as it is; 503 when there is none."""
        if not remote.available or request.user is None:
            return unavailable()
        headers = [(name, value) for name, value in request.headers.items() if _passes(name)]
        query = "&".join(f"{quote(name)}={quote(value)}" for name, value in request.repeated)
        path = quote(request.path) + (f"?{query}" if query else "")
        try:
            if "upgrade" in request.headers and (opened := await self._upgrade(remote, request, path, headers)):
                return opened
            answer = await self._send(remote, request.method, path, request.user, headers, request.body)
        except (Unreachable, OSError, TimeoutError, ValueError):
            return unavailable()
        except _client_error():
            return unavailable()
        kept = {name: value for name, value in answer.headers.items() if _passes(name) and name != "Content-Type"}
        content_type = answer.headers.get("Content-Type", "application/octet-stream")
        return Response(answer.status, _pieces(answer), content_type, kept)

    async def _upgrade(
        self, remote: Remote, request: Request, target: str, headers: list[tuple[str, str]]
    ) -> Response | None:
        """The way to the remote in another protocol (exec, console and the like); None when it is not asked for."""
        from kobune.controlplane.apiserver.tunnel import open_tunnel, wants_upgrade

        if not wants_upgrade(request) or request.user is None:
            return None
        endpoint = await find_endpoint(self._registry, remote.namespace, remote.service, remote.port)
        tls = self._tls(remote.bundle, remote.insecure)
        said = [*headers, *identity(request.user)]
        return await open_tunnel(request, endpoint, target, said, tls=tls, server_name=remote.server_name)

    async def get(self, remote: Remote, path: str) -> bytes:
        """The body of a GET of our own. Raises ValueError with upstream's words for what went wrong."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                answer = await self._send(remote, "GET", path, ASKER, [("Accept", "application/json")], b"")
                async with answer:
                    body = await answer.read()
        except Unreachable as error:
            raise ValueError(str(error)) from error
        except (OSError, TimeoutError, _client_error()) as error:
            why = str(error) or type(error).__name__
            raise ValueError(
                f"failing or missing response from https://{remote.server_name}:{remote.port}{path}: {why}"
            ) from error
        if not 200 <= answer.status < 300:
            raise ValueError(
                f"failing or missing response from {answer.url}: bad status from {answer.url}: {answer.status}"
            )
        return body

    async def _send(
        self, remote: Remote, method: str, path: str, user: User, headers: list[tuple[str, str]], body: bytes
    ) -> "aiohttp.ClientResponse":
        from yarl import URL

        endpoint = await find_endpoint(self._registry, remote.namespace, remote.service, remote.port)
        async with asyncio.timeout(CONNECT_SECONDS + CHECK_SECONDS):
            return await self._open().request(
                method,
                URL(f"https://{endpoint.authority}{path}", encoded=True),
                headers=[*headers, *identity(user)],
                data=body or None,
                ssl=self._tls(remote.bundle, remote.insecure),
                server_hostname=remote.server_name,
                allow_redirects=False,
            )

    def _open(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp  # Late: most clusters aggregate nothing.

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                auto_decompress=False,
                skip_auto_headers=ADDED_BY_LIBRARY,
                connector=aiohttp.TCPConnector(limit=0),
            )
        return self._session

    def _tls(self, bundle: str, insecure: bool) -> ssl.SSLContext:
        proxy = self._front_proxy
        return _context(bundle, insecure, str(proxy.certificate) if proxy else "", str(proxy.key) if proxy else "")


def identity(user: User) -> list[tuple[str, str]]:
    """Who asks, in the headers of a front proxy."""
    headers = [("X-Remote-User", user.name)]
    if user.uid:
        headers.append(("X-Remote-Uid", user.uid))
    headers += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        headers += [(f"X-Remote-Extra-{quote(key, safe='')}", value) for value in values]
    return headers


def unavailable() -> Response:
    return Response(503, b"service unavailable\n", "text/plain; charset=utf-8")


def _passes(name: str) -> bool:
    lower = name.lower()
    return lower not in KEPT_BACK and not lower.startswith("x-remote-")


def _client_error() -> type[Exception]:
    import aiohttp

    return aiohttp.ClientError


async def _pieces(answer: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


@lru_cache(maxsize=64)
def _context(bundle: str, insecure: bool, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if bundle:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode())
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate, key)
    return context
