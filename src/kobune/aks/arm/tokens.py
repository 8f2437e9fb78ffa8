"""Access tokens: issued by the service's own token endpoint, checked on every call to ARM."""

import base64
import binascii
from dataclasses import dataclass

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kobune.aks.arm.errors import ArmError
from kobune.api.errors import Json

LIFETIME_SECONDS = 3599  # As Entra ID's.
SKEW_SECONDS = 300  # Between the clocks of client and service.
# What ARM calls itself in tokens; the clients' clouds differ in the trailing slash.
ARM_AUDIENCES = ("https://management.core.windows.net/", "https://management.azure.com/")


@dataclass(frozen=True, slots=True)
class Principal:
    """A service principal or a person that may sign in."""

    client_id: str
    secret: str
    object_id: str
    tenant: str


class Issuer:
    """Signs tokens with one RSA key and knows its own again."""

    def __init__(self, key_pem: bytes) -> None:
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("the tokens' signing key is not an RSA key")
        self._key = key
        numbers = key.public_key().public_numbers()
        self._jwk = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "n": _base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": _base64url(numbers.e.to_bytes(3, "big")),
        }
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self._jwk["n"].encode())
        self._jwk["kid"] = _base64url(digest.finalize())[:22]

    @property
    def keys(self) -> Json:
        """The public key as a JWK set."""
        return {"keys": [self._jwk]}

    def sign(self, claims: Json) -> str:
        """A JWT of these claims."""
        header = {"typ": "JWT", "alg": "RS256", "kid": self._jwk["kid"]}
        signed = f"{_base64url(orjson.dumps(header))}.{_base64url(orjson.dumps(claims))}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"

    def read(self, token: str) -> Json:
        """The claims of one of our tokens. Raises ValueError when it is none, or was altered."""
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        try:
            if orjson.loads(_from_base64url(header)).get("alg") != "RS256":
                raise ValueError("the token is not signed with RS256")
            self._key.public_key().verify(
                _from_base64url(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims = orjson.loads(_from_base64url(payload))
        except (InvalidSignature, binascii.Error, orjson.JSONDecodeError, AttributeError) as error:
            raise ValueError("the token's signature does not hold") from error
        if not isinstance(claims, dict):
            raise ValueError("the token has no claims")
        return claims


def new_key_pem() -> bytes:
    """A private key for an Issuer, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def access_claims(principal: Principal, *, audience: str, issuer: str, now: float, token_id: str) -> Json:
    """The claims of an access token, named as Entra ID names them; clients read `tid`, `oid` and `appid`."""
    issued = int(now)
    return {
        "aud": audience,
        "iss": issuer,
        "iat": issued,
        "nbf": issued,
        "exp": issued + LIFETIME_SECONDS,
        "appid": principal.client_id,
        "appidacr": "1",
        "idp": issuer,
        "idtyp": "app",
        "oid": principal.object_id,
        "sub": principal.object_id,
        "tid": principal.tenant,
        "uti": token_id,
        "ver": "1.0",
    }


def check_bearer(authorization: str, issuer: Issuer, *, tenant: str, audiences: tuple[str, ...], now: float) -> Json:
    """The claims of a request's token.

    Args:
        authorization: the request's header. `audiences`: what the token may be meant for, besides ARM.
    Raises:
        ArmError: 401, with ARM's code for what is wrong.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _refused("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    try:
        claims = issuer.read(token.strip())
    except ValueError as error:
        raise _refused("InvalidAuthenticationToken", f"The access token is invalid: {error}.") from error
    if claims.get("tid") != tenant:
        raise _refused(
            "InvalidAuthenticationTokenTenant",
            f"The access token is from the wrong issuer. It must match the tenant '{tenant}' associated with this "
            "subscription.",
        )
    audience = str(claims.get("aud", "")).rstrip("/")
    if audience not in {known.rstrip("/") for known in (*ARM_AUDIENCES, *audiences)}:
        raise _refused(
            "InvalidAuthenticationTokenAudience",
            f"The access token has been obtained for wrong audience or resource '{claims.get('aud')}'. It should exactly "
            f"match with one of the allowed audiences '{', '.join(ARM_AUDIENCES)}'.",
        )
    if now > float(claims.get("exp", 0)) + SKEW_SECONDS:
        raise _refused("ExpiredAuthenticationToken", "The access token expiry time is earlier than the current time.")
    if now < float(claims.get("nbf", 0)) - SKEW_SECONDS:
        raise _refused("InvalidAuthenticationToken", "The access token is not yet valid.")
    return claims


def _refused(code: str, message: str) -> ArmError:
    return ArmError(401, code, message)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
