"""Bootstrap tokens: the signatures of `cluster-info` that let joining nodes trust it, and the end of expired tokens.

Source: Kubernetes documentation, Authenticating with Bootstrap Tokens; upstream's bootstrap signer and token cleaner.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial

import orjson

from kobune.api.errors import Conflict, Json, NotFound
from kobune.api.jwt import encode_part
from kobune.api.objects.core import ConfigMap, Secret
from kobune.api.objects.meta import Key
from kobune.api.timestamps import parse_time
from kobune.controlplane.controllers.controller import Context, Controller, Maps

TYPE = "bootstrap.kubernetes.io/token"
NAME_PREFIX, SIGNATURE_PREFIX = "bootstrap-token-", "jws-kubeconfig-"
CLUSTER_INFO = Key("kube-public", "cluster-info")


class BootstrapToken(Secret):
    """Secrets of that type in kube-system alone."""

    def value(self, name: str) -> str:
        try:
            return base64.b64decode(self.data.get(name, "")).decode()
        except ValueError:
            return ""

    def seconds_left(self, now: datetime) -> float | None:
        """Until it expires; None: it never does. What cannot be read has expired."""
        text = self.value("expiration")
        if not text:
            return None
        try:
            return (parse_time(text) - now).total_seconds()
        except ValueError:
            return 0.0


class ClusterInfo(ConfigMap):
    """The one ConfigMap that is signed."""


async def sign(_key: Key, context: Context) -> None:
    """Bring the signatures in line with the tokens."""
    info = context.informer(ClusterInfo).get(CLUSTER_INFO)
    content = info.data.get("kubeconfig") if info is not None else None
    if info is None or content is None:
        return
    tokens = signing_tokens(context.informer(BootstrapToken).items.values(), context.clock.now())
    wanted = {SIGNATURE_PREFIX + each: signature(content, each, secret) for each, secret in tokens.items()}
    known = {name: value for name, value in info.data.items() if name.startswith(SIGNATURE_PREFIX)}
    if wanted == known:
        return
    change: Json = {**dict.fromkeys(known.keys() - wanted.keys()), **wanted}
    metadata = {"resourceVersion": info.metadata.resource_version}
    with suppress(NotFound):
        await context.client.patch(ClusterInfo, CLUSTER_INFO, {"metadata": metadata, "data": change})


def signing_tokens(secrets: Iterable[BootstrapToken], now: datetime) -> Mapping[str, str]:
    """The tokens that may sign: id to secret."""
    tokens = {}
    for secret in secrets:
        identity, left = secret.value("token-id"), secret.seconds_left(now)
        good = secret.name == NAME_PREFIX + identity and secret.value("token-secret")
        if good and (left is None or left > 0) and secret.value("usage-bootstrap-signing") == "true":
            tokens[identity] = secret.value("token-secret")
    return tokens


def signature(content: str, token_id: str, secret: str) -> str:
    """A JSON Web Signature (HS256) without the content, which whoever checks it has already."""
    head = encode_part(orjson.dumps({"alg": "HS256", "kid": token_id}))
    signed = f"{head}.{encode_part(content.encode())}".encode()
    return f"{head}..{encode_part(hmac.new(secret.encode(), signed, hashlib.sha256).digest())}"


async def clean(key: Key, context: Context) -> float | None:
    """Delete a token that has expired; returns the seconds it has left."""
    secret = context.informer(BootstrapToken).get(key)
    left = secret.seconds_left(context.clock.now()) if secret is not None else None
    if secret is None or left is None or left > 0:
        return left
    with suppress(NotFound, Conflict):
        await context.client.delete(BootstrapToken, key, uid=secret.uid)
    return None


def _info(_context: Context, _old: object, _new: object) -> tuple[Key, ...]:
    return (CLUSTER_INFO,)


def _itself(_context: Context, _old: BootstrapToken | None, new: BootstrapToken | None) -> tuple[Key, ...]:
    return (new.key,) if new is not None else ()


_tokens = partial(Maps, BootstrapToken, namespace="kube-system", fields=f"type={TYPE}")
CONTROLLERS = (
    Controller(
        "bootstrap-signer-controller",
        (
            Maps(ClusterInfo, _info, namespace=CLUSTER_INFO.namespace, fields=f"metadata.name={CLUSTER_INFO.name}"),
            _tokens(_info),
        ),
        sign,
        workers=1,
        on_by_default=False,
    ),
    Controller("token-cleaner-controller", (_tokens(_itself),), clean, on_by_default=False),
)
