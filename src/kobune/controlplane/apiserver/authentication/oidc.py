"""OpenID Connect: tokens that somebody else issues. Source: upstream apiserver, plugin/pkg/authenticator/token/oidc."""

import base64
import binascii
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from kobune.api import jwt
from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.controlplane.apiserver.authentication.issuers import Issuer, Mapped
from kobune.controlplane.apiserver.request import User

log = logging.getLogger(__name__)

# The body behind a URL, given the PEM of the authority to trust ("" for the machine's). Raises OSError, ValueError.
Fetch = Callable[[str, str], Awaitable[bytes]]
WELL_KNOWN = "/.well-known/openid-configuration"
KEYS_SECONDS = 10.0  # Keys are asked for again, for a token of an unknown key, no more often.
_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


class Refused(Exception):
    """The token is the issuer's, but no good."""


class Oidc:
    """One issuer. Its keys are fetched when its first token comes."""

    def __init__(self, issuer: Issuer, *, clock: Clock, fetch: Fetch) -> None:
        self._issuer = issuer
        self._clock = clock
        self._fetch = fetch
        self._keys: dict[str, PublicKeyTypes] = {}
        self._asked = float("-inf")

    async def authenticate(self, token: str) -> User | None:
        """Whose token it is; None when it is not the issuer's, or no good."""
        try:
            claims = jwt.read_claims(token)
        except jwt.NotAToken:
            return None
        if claims.get("iss") != self._issuer.url:
            return None
        try:
            await self._verify(token)
            self._check(claims)
            return self._user(claims)
        except (Refused, jwt.NotAToken) as error:
            log.info("token refused", extra={"issuer": self._issuer.url, "why": str(error)})
            return None

    async def _verify(self, token: str) -> None:
        try:
            header = orjson.loads(jwt.decode_part(token.partition(".")[0]))
            key_id, algorithm = str(header.get("kid", "")), header.get("alg")
        except (ValueError, binascii.Error, AttributeError) as error:
            raise Refused("the header cannot be read") from error
        if self._issuer.algorithms and algorithm not in self._issuer.algorithms:
            raise Refused(f"signed with {algorithm}")
        if key_id not in self._keys:
            await self._load_keys()
        known = self._keys.get(key_id)
        jwt.verify(token, [known] if known is not None else self._keys.values() if not key_id else ())

    async def _load_keys(self) -> None:
        now = self._clock.monotonic()
        if now - self._asked < KEYS_SECONDS:
            return
        self._asked = now
        issuer = self._issuer
        try:
            where = issuer.discovery_url or issuer.url.rstrip("/") + WELL_KNOWN
            found = orjson.loads(await self._fetch(where, issuer.authority))
            if found.get("issuer") != issuer.url:
                raise ValueError(f"the discovery document is of issuer {found.get('issuer')!r}")
            keys = orjson.loads(await self._fetch(found["jwks_uri"], issuer.authority))
            self._keys = {str(one.get("kid", "")): key for one in keys["keys"] if (key := read_key(one)) is not None}
        except (OSError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"the issuer's keys cannot be had: {error}") from error

    def _check(self, claims: Json) -> None:
        now = self._clock.now().timestamp()
        if not isinstance(claims.get("exp"), int | float) or claims["exp"] <= now:
            raise Refused("expired")
        if isinstance(claims.get("nbf"), int | float) and claims["nbf"] > now:
            raise Refused("not valid yet")
        given = claims.get("aud") or ()
        if not set([given] if isinstance(given, str) else given) & set(self._issuer.audiences):
            raise Refused("meant for others")
        for name, value in self._issuer.required.items():
            if claims.get(name) != value:
                raise Refused(f"claim {name} is not {value}")
        for rule in self._issuer.claim_rules:
            if evaluate(rule.expression, "claims", claims) is not True:
                raise Refused(rule.message or f"claim validation failed: {rule.expression}")

    def _user(self, claims: Json) -> User:
        issuer = self._issuer
        if issuer.username.claim == "email" and claims.get("email_verified", True) is not True:
            raise Refused("the e-mail address is not verified")
        name = value_of(issuer.username, claims)
        if not isinstance(name, str) or not name:
            raise Refused("no username")
        groups = value_of(issuer.groups, claims) if issuer.groups else []
        uid = value_of(issuer.uid, claims) if issuer.uid else ""
        names = [groups] if isinstance(groups, str) else groups or []
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names) or not isinstance(uid, str):
            raise Refused("groups and uid must be strings")
        extra: dict[str, tuple[str, ...]] = {}
        for key, expression in issuer.extra.items():
            found = evaluate(expression, "claims", claims)
            if found:
                extra[key] = (found,) if isinstance(found, str) else tuple(map(str, found))
        user = User(name, uid, tuple(one for one in names if one), extra)
        as_seen = {
            "username": name,
            "uid": uid,
            "groups": names,
            "extra": {key: [*each] for key, each in extra.items()},
        }
        for rule in issuer.user_rules:
            if evaluate(rule.expression, "user", as_seen) is not True:
                raise Refused(rule.message or f"user validation failed: {rule.expression}")
        return user


def value_of(mapped: Mapped, claims: Json) -> Any:
    """What a mapping makes of the claims; None where there is no such claim."""
    if mapped.expression:
        return evaluate(mapped.expression, "claims", claims)
    value = claims.get(mapped.claim)
    if isinstance(value, str):
        return mapped.prefix + value
    return [mapped.prefix + one if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


def evaluate(expression: str, variable: str, value: Json) -> Any:
    """Raises Refused when the expression has no value."""
    # Here, because few configurations have expressions, and the engine takes time to load.
    from kobune.api.cel.environment import CelError, Evaluation, compiled

    evaluator, program = compiled(expression, (variable,))
    if isinstance(program, CelError):
        raise Refused(f"{expression}: {program}")
    try:
        return program.run(evaluator.activation({variable: value}))
    except (Evaluation, RuntimeError) as error:
        raise Refused(f"{expression}: {error}") from error


def read_key(given: Json) -> PublicKeyTypes | None:
    """A JSON Web Key; None for one that signs no tokens."""
    try:
        if given.get("kty") == "RSA":
            return rsa.RSAPublicNumbers(_number(given["e"]), _number(given["n"])).public_key()
        if given.get("kty") == "EC" and given.get("crv") in _CURVES:
            curve = _CURVES[given["crv"]]
            return ec.EllipticCurvePublicNumbers(_number(given["x"]), _number(given["y"]), curve).public_key()
    except (KeyError, ValueError, binascii.Error) as error:
        raise ValueError(f"the key {given.get('kid')!r} cannot be read: {error}") from error
    return None


async def fetch(url: str, authority: str) -> bytes:
    """Over HTTPS. Raises OSError, ValueError."""
    import aiohttp  # Late: it takes longer to import than all of ours, and few clusters have issuers.

    context = ssl.create_default_context(cadata=authority or None)
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, ssl=context, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"{url} answered {answer.status}")
            return await answer.read()
    except aiohttp.ClientError as error:
        raise OSError(f"{url}: {error}") from error


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
