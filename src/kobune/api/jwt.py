"""JSON Web Tokens: signed with RS256 or ES256/384/512, as ServiceAccount tokens are."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from kobune.api.errors import Json

# By curve: the algorithm, its hash, and the length of each half of a signature in bytes.
CURVES: dict[str, tuple[str, hashes.HashAlgorithm, int]] = {
    "secp256r1": ("ES256", hashes.SHA256(), 32),
    "secp384r1": ("ES384", hashes.SHA384(), 48),
    "secp521r1": ("ES512", hashes.SHA512(), 66),
}
CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class NotAToken(ValueError):
    """Not a token of these keys; the message says why."""


def key_id(key: PublicKeyTypes) -> str:
    """What names a key in a token's header: the hash of its DER form, as upstream derives it."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return encode_part(digest.finalize())


def algorithm(key: PublicKeyTypes) -> str:
    """Raises ValueError for a key that signs no tokens."""
    if isinstance(key, rsa.RSAPublicKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name][0]
    raise ValueError("tokens are signed with RSA keys and with EC keys on the curves P-256, P-384 and P-521")


def sign(claims: Json, key: PrivateKeyTypes) -> str:
    """The token that says `claims`."""
    public = key.public_key()
    header = {"alg": algorithm(public), "kid": key_id(public)}
    signed = f"{encode_part(orjson.dumps(header))}.{encode_part(orjson.dumps(claims))}"
    data = signed.encode()
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        _, digest, length = CURVES[key.curve.name]
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        signature = r.to_bytes(length, "big") + s.to_bytes(length, "big")
    else:
        raise ValueError("the signing key is of a kind that signs no tokens")
    return f"{signed}.{encode_part(signature)}"


def read_claims(token: str) -> Json:
    """What a token says, unverified. Raises NotAToken."""
    try:
        _, payload, _ = token.split(".")
        claims = orjson.loads(decode_part(payload))
    except (ValueError, binascii.Error) as error:
        raise NotAToken("not a JSON Web Token") from error
    if not isinstance(claims, dict):
        raise NotAToken("the claims are no object")
    return claims


def verify(token: str, keys: Iterable[PublicKeyTypes]) -> None:
    """Raises NotAToken unless one of the keys has signed the token."""
    try:
        signed, _, last = token.rpartition(".")
        header = orjson.loads(decode_part(token.partition(".")[0]))
        signature, data = decode_part(last), signed.encode()
        wanted = header["alg"]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise NotAToken("not a JSON Web Token") from error
    # The header chooses among the keys, never the way of verifying: that is the key's own.
    if not any(algorithm(key) == wanted and _is_signed(key, signature, data) for key in keys):
        raise NotAToken("the signature is not of a known key")


def jwks(keys: Iterable[PublicKeyTypes]) -> Json:
    """The keys as a JSON Web Key Set."""
    return {"keys": [_jwk(key) for key in keys]}


def encode_part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _is_signed(key: PublicKeyTypes, signature: bytes, data: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            return True
        if isinstance(key, ec.EllipticCurvePublicKey):
            _, digest, length = CURVES[key.curve.name]
            if len(signature) != 2 * length:
                return False
            r, s = int.from_bytes(signature[:length], "big"), int.from_bytes(signature[length:], "big")
            key.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
            return True
    except InvalidSignature:
        pass
    return False


def _jwk(key: PublicKeyTypes) -> dict[str, Any]:
    common = {"use": "sig", "kid": key_id(key), "alg": algorithm(key)}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {**common, "kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point, length = key.public_numbers(), CURVES[key.curve.name][2]
    return {
        **common, "kty": "EC", "crv": CURVE_NAMES[key.curve.name],
        "x": encode_part(point.x.to_bytes(length, "big")), "y": encode_part(point.y.to_bytes(length, "big")),
    }  # fmt: skip


def _number(value: int) -> str:
    return encode_part(value.to_bytes((value.bit_length() + 7) // 8, "big"))
