"""ServiceAccount tokens: what they claim, and whether they still hold. Source: upstream pkg/serviceaccount."""

import base64
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from kobune.api import jwt
from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.api.objects.meta import Key
from kobune.api.timestamps import parse_time
from kobune.controlplane.apiserver.authentication.legacy_use import INVALID_SINCE, note_use
from kobune.controlplane.apiserver.config import ServiceAccountKeys
from kobune.controlplane.apiserver.request import User

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

# Of tokens without an end, which Secrets keep.
LEGACY_ISSUER, LEGACY_CLAIM = "kubernetes/serviceaccount", "kubernetes.io/serviceaccount"
LEEWAY = timedelta(minutes=1)  # Deleted for so long, an object no longer vouches for a token.
REMEMBERED = 4096  # Tokens whose signature has been found good.


class ServiceAccountTokens:
    """Issues and checks tokens. A signature is checked once; that the bound objects live is checked each time."""

    def __init__(
        self, keys: ServiceAccountKeys, registry: "Registry", *, issuer: str, audiences: tuple[str, ...], clock: Clock
    ) -> None:
        self._keys = keys
        self._registry = registry
        self._issuer = issuer
        self._audiences = audiences
        self._clock = clock
        own = keys.signing.public_key()
        self.public_keys: tuple[PublicKeyTypes, ...] = (own, *keys.verifying)
        self._verified: OrderedDict[str, Json] = OrderedDict()

    def issue(
        self, account: Json, *, audiences: list[str], now: datetime, seconds: int, token_id: str,
        pod: Json | None = None, secret: Json | None = None, node: Json | None = None, warn_after: int = 0,
    ) -> str:  # fmt: skip
        """A token of the account that ends after `seconds`, bound to the objects given."""
        meta, moment = account["metadata"], int(now.timestamp())
        private: Json = {"namespace": meta["namespace"], "serviceaccount": _reference(account)}
        for name, obj in (("pod", pod), ("secret", secret), ("node", node)):
            if obj is not None:
                private[name] = _reference(obj)
        if warn_after:
            private["warnafter"] = moment + warn_after
        claims = {
            "aud": audiences,
            "exp": moment + seconds,
            "iat": moment,
            "iss": self._issuer,
            "jti": token_id,
            "kubernetes.io": private,
            "nbf": moment,
            "sub": user_name(meta["namespace"], meta["name"]),
        }
        return jwt.sign(claims, self._keys.signing)

    async def authenticate(self, token: str) -> User | None:
        """Whose token it is; None when it is no good for this server."""
        found = await self.review(token, self._audiences)
        return found[0] if found else None

    async def review(self, token: str, audiences: tuple[str, ...]) -> tuple[User, list[str]] | None:
        """The owner, and the audiences that the token and the caller share; None when the token is no good."""
        claims = self._claims(token)
        if claims is None:
            return None
        if claims["iss"] == LEGACY_ISSUER:
            # Without an audience it is meant for the API server alone.
            user = await self._legacy_user(token, claims)
            shared = [audience for audience in self._audiences if audience in audiences]
            return (user, shared) if user is not None and shared else None
        given = claims.get("aud") or ()
        shared = [audience for audience in ([given] if isinstance(given, str) else given) if audience in audiences]
        now = self._clock.now().timestamp()
        if not shared or claims.get("exp", 0) <= now or claims.get("nbf", 0) > now + LEEWAY.total_seconds():
            return None
        private = claims["kubernetes.io"]
        namespace, account = private["namespace"], private["serviceaccount"]
        bound = [("ServiceAccount", namespace, account)]
        if "secret" in private:
            bound.append(("Secret", namespace, private["secret"]))
        if "pod" in private:
            bound.append(("Pod", namespace, private["pod"]))
        elif "node" in private:
            bound.append(("Node", "", private["node"]))
        for kind, where, reference in bound:
            if not await self._lives(kind, where, reference):
                return None
        return _user(claims), shared

    def _claims(self, token: str) -> Json | None:
        """The claims of a token that one of our keys has signed for our issuer."""
        known = self._verified.get(token)
        if known is not None:
            return known
        try:
            claims = jwt.read_claims(token)
            if claims.get("iss") not in (self._issuer, LEGACY_ISSUER):
                return None
            jwt.verify(token, self.public_keys)
        except jwt.NotAToken:
            return None
        private = claims.get("kubernetes.io")
        if claims["iss"] != LEGACY_ISSUER and (
            not isinstance(private, dict) or not isinstance(private.get("serviceaccount"), dict)
        ):
            return None
        self._verified[token] = claims
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return claims

    async def _legacy_user(self, token: str, claims: Json) -> User | None:
        """The owner of a token that a Secret keeps, as long as it keeps it."""
        namespace, name, secret, uid = (
            str(claims.get(f"{LEGACY_CLAIM}/{part}", ""))
            for part in ("namespace", "service-account.name", "secret.name", "service-account.uid")
        )
        if not await self._lives("ServiceAccount", namespace, {"name": name, "uid": uid}):
            return None
        item = await self._registry.find_item(self._registry.builtin("", "v1", "Secret"), namespace, secret)
        kept = _secrets.decode(item.body) if item is not None else None
        if kept is None or kept.data.get("token") != base64.b64encode(token.encode()).decode():
            return None
        if (
            kept.metadata.deletion_timestamp
            and parse_time(kept.metadata.deletion_timestamp) < self._clock.now() - LEEWAY
        ):
            return None
        await note_use(self._registry, Key(namespace, secret), kept.metadata.labels, self._clock.now())
        if INVALID_SINCE in kept.metadata.labels:
            return None
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(user_name(namespace, name), uid, groups)

    async def _lives(self, kind: str, namespace: str, reference: Json) -> bool:
        row = self._registry.builtin("", "v1", kind)
        item = await self._registry.find_item(row, namespace, reference.get("name", ""))
        if item is None:
            return False
        meta = _identities.decode(item.body).metadata
        if meta.uid != reference.get("uid", ""):
            return False
        deleted = meta.deletion_timestamp
        return not deleted or parse_time(deleted) >= self._clock.now() - LEEWAY


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    deletion_timestamp: str = ""


class _Identity(msgspec.Struct):
    metadata: _Meta


class _KeptMeta(_Meta):
    labels: dict[str, str] = {}


class _KeptToken(msgspec.Struct):
    metadata: _KeptMeta
    data: dict[str, str] = {}


_secrets = msgspec.json.Decoder(_KeptToken)
_identities = msgspec.json.Decoder(_Identity)


def user_name(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def _user(claims: Json) -> User:
    private = claims["kubernetes.io"]
    namespace, account = private["namespace"], private["serviceaccount"]
    extra: dict[str, tuple[str, ...]] = {}
    if claims.get("jti"):
        extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
    if "node" in private:
        extra["authentication.kubernetes.io/node-name"] = (private["node"]["name"],)
        if private["node"].get("uid"):
            extra["authentication.kubernetes.io/node-uid"] = (private["node"]["uid"],)
    if "pod" in private:
        extra["authentication.kubernetes.io/pod-name"] = (private["pod"]["name"],)
        extra["authentication.kubernetes.io/pod-uid"] = (private["pod"]["uid"],)
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(user_name(namespace, account["name"]), account.get("uid", ""), groups, extra)


def _reference(obj: Json) -> Json:
    meta = obj["metadata"]
    return {name: meta[name] for name in ("name", "uid") if meta.get(name)}
