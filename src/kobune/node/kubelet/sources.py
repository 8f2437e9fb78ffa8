"""The ConfigMaps and Secrets that pods of this node name, fetched when needed and shared for a moment."""

import asyncio
import base64
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json, NotFound
from kobune.api.objects.core import ConfigMap, Secret
from kobune.api.objects.meta import Key, Object
from kobune.client.client import Client
from kobune.node.kubelet.environment import Data, Named
from kobune.node.kubelet.together import together

FRESH_SECONDS = 1.0  # Pods that start together share an answer; a pod that starts later sees the newest.

T = TypeVar("T", bound=Object)


class _Answer(NamedTuple, Generic[T]):
    at: float
    value: T | None


class _Cache(Generic[T]):
    """Objects of one kind; concurrent askers of one key share one request."""

    def __init__(self, client: Client, view: type[T], clock: Clock) -> None:
        self._client, self._view, self._clock = client, view, clock
        self._answers: dict[Key, _Answer[T]] = {}
        self._asking: dict[Key, asyncio.Lock] = {}

    async def find(self, key: Key) -> T | None:
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            answer = self._answers.get(key)
            if answer is None or self._clock.monotonic() - answer.at > FRESH_SECONDS:
                self._answers.pop(key, None)
                answer = _Answer(self._clock.monotonic(), await self._client.find(self._view, key))
                self._sweep()
                self._answers[key] = answer
        return answer.value

    def _sweep(self) -> None:
        """Nothing outlives its moment: secrets least of all."""
        now = self._clock.monotonic()
        for key in [key for key, answer in self._answers.items() if now - answer.at > FRESH_SECONDS]:
            del self._answers[key]
            if not self._asking[key].locked():
                del self._asking[key]


class Sources:
    """ConfigMaps, Secrets and service account tokens."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._config_maps = _Cache(client, ConfigMap, clock)
        self._secrets = _Cache(client, Secret, clock)

    async def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """The ConfigMap as of a moment ago; None when there is none. Raises ApiError."""
        return await self._config_maps.find(Key(namespace, name))

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """The Secret as of a moment ago; None when there is none. Raises ApiError."""
        return await self._secrets.find(Key(namespace, name))

    async def data(self, namespace: str, named: Named) -> Data:
        """All that is named, fetched together. Raises ApiError."""
        if not named.config_maps and not named.secrets:
            return Data({}, {})
        config_maps = [self.config_map(namespace, name) for name in named.config_maps]
        secrets = [self.secret(namespace, name) for name in named.secrets]
        found_maps, found_secrets = await together(*config_maps), await together(*secrets)
        return Data(
            dict(zip(named.config_maps, found_maps, strict=True)), dict(zip(named.secrets, found_secrets, strict=True))
        )

    async def token(self, account: Key, request: Json) -> Json:
        """The status of a TokenRequest for the service account: token and expirationTimestamp. Raises ApiError."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": request}
        path = f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.name}/token"
        answer: Json = orjson.loads(await self._client.call("POST", path, body=orjson.dumps(body)))
        status: Json = answer["status"]
        return status

    async def registry_logins(self, namespace: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """User and password by registry, from image pull secrets; secrets that are missing or of another form add none."""
        logins: dict[str, dict[str, str]] = {}
        for name in names:
            try:
                secret = await self.secret(namespace, name)
            except (NotFound, ApiError):
                continue
            if secret is not None:
                logins |= parse_logins(secret)
        return logins


def parse_logins(secret: Secret) -> dict[str, dict[str, str]]:
    """User and password by registry, from a secret of either docker type."""
    for key in (".dockerconfigjson", ".dockercfg"):
        if key not in secret.data:
            continue
        try:
            document = orjson.loads(base64.b64decode(secret.data[key]))
        except ValueError:
            return {}
        entries = document.get("auths", {}) if key == ".dockerconfigjson" else document
        return {_registry(host): login for host, entry in entries.items() if (login := _login(entry))}
    return {}


def _registry(host: str) -> str:
    return host.removeprefix("https://").removeprefix("http://").split("/")[0]


def _login(entry: Json) -> dict[str, str]:
    if "username" in entry:
        return {"username": entry["username"], "password": entry.get("password", "")}
    try:
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except ValueError:
        return {}
    return {"username": user, "password": password} if user else {}
