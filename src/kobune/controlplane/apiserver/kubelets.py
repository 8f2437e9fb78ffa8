"""The server's connections to kubelets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from kobune.api.errors import ApiError, BadRequest, Json, NotFound, ServiceUnavailable
from kobune.controlplane.apiserver.wire import ADDED_BY_LIBRARY

ENDPOINT_ANNOTATION = "kobune.local/kubelet-endpoint"  # HOST:PORT of a kubelet that is not at its node's address.
# Which address of a node is tried first. Source: upstream --kubelet-preferred-address-types, as kubeadm sets it.
ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")
DEFAULT_PORT = 10250
CONNECT_SECONDS = 5.0


class Kubelets:
    """One HTTP client for all kubelets; connections are made at first use and kept."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, node: Json, path: str, query: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        """The body of a GET, in pieces as they come.

        Raises:
            BadRequest, NotFound: what the kubelet answered; ApiError for its other failures.
            ServiceUnavailable: it cannot be reached.
        """
        session = self._open()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                answer = await session.get(url_of(node, path, query))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(node, error) from error
        if answer.status >= 300:
            async with answer:
                raise _failure(answer.status, await answer.text(errors="replace"))
        return _pieces(answer)

    async def open_socket(
        self, node: Json, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket to the kubelet, which has chosen one of the protocols. Raises as `get` does."""
        session = self._open()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await session.ws_connect(
                    url_of(node, path, query), protocols=protocols, autoping=True, max_msg_size=0
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _failure(error.status, error.message or "the kubelet refused the connection") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(node, error) from error

    async def forward(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes, *, verified: bool = True
    ) -> tuple[int, Mapping[str, str], AsyncIterator[bytes]]:
        """Status, headers and body of any request. Raises ServiceUnavailable when nobody answers.

        Args:
            verified: the certificate must be a kubelet's; what runs in pods has certificates of its own making.
        """
        session = self._open()
        tls = self._tls if verified and self._tls is not None else False
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                answer = await session.request(
                    method, url, headers=headers, data=body or None, allow_redirects=False, ssl=tls
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from error
        return answer.status, answer.headers, _pieces(answer)

    def context(self, *, verified: bool) -> ssl.SSLContext:
        """For connections of our own making; `verified` as in `forward`. Raises ServiceUnavailable."""
        if not verified:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        if self._tls is None:
            raise ServiceUnavailable("this server has no certificate to reach kubelets with")
        return self._tls

    def _open(self) -> aiohttp.ClientSession:
        if self._tls is None:
            raise ServiceUnavailable("this server has no certificate to reach kubelets with")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                auto_decompress=False,
                skip_auto_headers=ADDED_BY_LIBRARY,
            )
        return self._session


def url_of(node: Json, path: str, query: Sequence[tuple[str, str]]) -> URL:
    """Where a node's kubelet answers `path`. Raises ApiError for a node without an address."""
    meta, status = node["metadata"], node.get("status") or {}
    endpoint = (meta.get("annotations") or {}).get(ENDPOINT_ANNOTATION)
    if not endpoint:
        addresses = {one["type"]: one["address"] for one in reversed(status.get("addresses") or ())}
        host = next((addresses[kind] for kind in ADDRESS_TYPES if kind in addresses), "")
        if not host:
            raise ApiError(f"no preferred addresses found; known addresses: [{' '.join(addresses.values())}]")
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or DEFAULT_PORT
        endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return URL(f"https://{endpoint}").with_path(path).with_query(list(query))


def unreachable(node: Json, error: BaseException) -> ApiError:
    name = node["metadata"]["name"]
    return ServiceUnavailable(f"error dialing backend: node {name}: {str(error) or type(error).__name__}")


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


def _failure(status: int, text: str) -> ApiError:
    text = text.strip() or f"the kubelet answered {status}"
    if status in (400, 422):
        return BadRequest(text)
    if status == 404:
        return NotFound(text)
    return ApiError(text)
