"""Calls webhooks, at a URL or at a Service of the cluster."""

import asyncio
import base64
import ssl
import tempfile
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from kobune.api.errors import ApiError, Json
from kobune.controlplane.apiserver.admission.webhooks.matching import Webhook
from kobune.controlplane.apiserver.admission.webhooks.users import NOBODY, WebhookUsers
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.services.endpoints import Unreachable, find_endpoint

if TYPE_CHECKING:
    import aiohttp

CONVERSION_SECONDS = 30.0  # Source: upstream conversion webhooks.
MAX_ANSWER_BYTES = 3 * 1024 * 1024
HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json"),
    ("User-Agent", "kube-apiserver-admission"),
)


class CallFailed(Exception):
    """The webhook could not be asked, or did not answer in time."""


class WebhookClient:
    """Sessions are made at first use; `close` lets go of them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._session: aiohttp.ClientSession | None = None

    async def call(self, webhook: Webhook, review: Json, users: WebhookUsers) -> bytes:
        """The answer's body. Raises CallFailed."""
        return await self._post(webhook.client, review, webhook.timeout_seconds, users)

    async def convert(self, client: Json, review: Json) -> bytes:
        """The answer of a conversion webhook. Raises ApiError."""
        try:
            return await self._post(client, review, CONVERSION_SECONDS, NOBODY)
        except CallFailed as error:
            raise ApiError(str(error)) from error

    async def _post(self, client: Json, review: Json, seconds: float, users: WebhookUsers) -> bytes:
        import aiohttp  # Late: it takes longer to read than all of ours, and most clusters have no webhooks.

        # The webhook may care how long it has. Source: upstream admission webhooks, the timeout parameter of the call.
        query = f"timeout={seconds:g}s"
        try:
            async with asyncio.timeout(seconds):
                url, server_name = await self._url(client)
                identity = users.identity(*_address(client))
                async with self._open().post(
                    _with_query(url, query),
                    data=orjson.dumps(review),
                    headers=(*HEADERS, *identity.headers),
                    ssl=_tls(client.get("caBundle") or "", identity.certificate, identity.key),
                    server_hostname=server_name,
                    allow_redirects=False,
                ) as answer:
                    body = await answer.content.read(MAX_ANSWER_BYTES)
                    if answer.status != 200:
                        raise CallFailed(f"the webhook answered {answer.status}: {body[:200].decode(errors='replace')}")
                    return body
        except TimeoutError as error:
            raise CallFailed(f'Post "{_with_query(_shown(client), query)}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError, ValueError, ApiError) as error:
            why = str(error) or type(error).__name__
            raise CallFailed(f'Post "{_with_query(_shown(client), query)}": {why}') from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def _url(self, client: Json) -> tuple[str, str | None]:
        """Where the webhook is, and the name that its certificate must have."""
        if client.get("url"):
            return client["url"], None
        service = client.get("service") or {}
        namespace, name = service.get("namespace", ""), service.get("name", "")
        path = (service.get("path") or "/").lstrip("/")
        try:
            endpoint = await find_endpoint(self._registry, namespace, name, service.get("port") or 443)
        except Unreachable as error:
            raise CallFailed(str(error)) from error
        return f"https://{endpoint.authority}/{path}", f"{name}.{namespace}.svc"


def _address(client: Json) -> tuple[str, int]:
    """Host and port of the webhook, a Service's by its name."""
    if client.get("url"):
        url = urlsplit(client["url"])
        host = url.hostname or ""
        return f"[{host}]" if ":" in host else host, url.port or 443
    service = client.get("service") or {}
    return f"{service.get('name', '')}.{service.get('namespace', '')}.svc", service.get("port") or 443


def _shown(client: Json) -> str:
    """The webhook's address by name, as its author knows it."""
    if client.get("url"):
        return str(client["url"])
    host, port = _address(client)
    return f"https://{host}:{port}/{((client.get('service') or {}).get('path') or '/').lstrip('/')}"


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}"


@lru_cache(maxsize=64)
def _tls(bundle: str, certificate: str, key: str) -> ssl.SSLContext:
    """Trusts the bundle (base64 of PEM), or without one what the machine trusts; shows the certificate (PEM) if there is one."""
    context = ssl.create_default_context()
    if bundle:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode())
    if certificate:
        with tempfile.NamedTemporaryFile("w", prefix="kobune-") as file:  # ssl reads key pairs from files only.
            file.write(f"{certificate}\n{key}")
            file.flush()
            context.load_cert_chain(file.name)
    return context
