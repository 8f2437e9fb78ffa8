"""Which values are encrypted, and with which keys: upstream's EncryptionConfiguration with the providers aesgcm and identity.

A sealed value has upstream's form: `k8s:enc:aesgcm:v1:NAME:`, a nonce of 12 bytes, the ciphertext and its tag; the storage key
is authenticated with it, so that a value cannot be moved to another object.
"""

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kobune.api.errors import FieldError, Json, invalid
from kobune.api.kinds import Kind
from kobune.controlplane.store.contract import Damaged

SEALED = b"k8s:enc:"
_PREFIX = b"k8s:enc:aesgcm:v1:"
_NONCE_BYTES = 12
_KEY_BYTES = (16, 24, 32)
# Source: upstream's validation of EncryptionConfiguration.
_KINDS_OF_PROVIDERS = ("kms", "aesgcm", "aescbc", "secretbox", "identity")


class Provider(Protocol):
    """One way to seal values."""

    def seals(self, stored: bytes) -> bool:
        """Whether it made this."""

    def seal(self, key: bytes, value: bytes) -> bytes: ...

    def open(self, key: bytes, stored: bytes) -> bytes:
        """Raises InvalidTag when it was changed, or stood under another key."""


class Identity:
    """Values as they are."""

    def seals(self, stored: bytes) -> bool:
        return not stored.startswith(SEALED)

    def seal(self, key: bytes, value: bytes) -> bytes:
        return value

    def open(self, key: bytes, stored: bytes) -> bytes:
        return stored


class AesGcm:
    """One key of an aesgcm provider. A key should be replaced well before it has sealed 2^32 values."""

    def __init__(self, name: str, secret: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._prefix = _PREFIX + name.encode() + b":"
        self._cipher = AESGCM(secret)
        self._random = random

    def seals(self, stored: bytes) -> bool:
        return stored.startswith(self._prefix)

    def seal(self, key: bytes, value: bytes) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return self._prefix + nonce + self._cipher.encrypt(nonce, value, key)

    def open(self, key: bytes, stored: bytes) -> bytes:
        start = len(self._prefix)
        return self._cipher.decrypt(stored[start : start + _NONCE_BYTES], stored[start + _NONCE_BYTES :], key)


class Opened(NamedTuple):
    value: bytes
    stale: bool  # Sealed otherwise than it would be now.


class Sealer:
    """The providers of one kind: the first one seals, any opens."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = providers

    def seal(self, key: str, value: bytes) -> bytes:
        return self._providers[0].seal(key.encode(), value)

    def open(self, key: str, stored: bytes) -> Opened:
        """Raises Damaged when no provider can open it."""
        for provider in self._providers:
            if provider.seals(stored):
                try:
                    return Opened(provider.open(key.encode(), stored), provider is not self._providers[0])
                except InvalidTag as error:
                    raise Damaged(f"{key} cannot be decrypted: it was changed, or its encryption key was") from error
        what = "its encryption key is not configured" if stored.startswith(SEALED) else "it is not encrypted"
        raise Damaged(f"{key} cannot be read: {what}")


UNSEALED = Sealer((Identity(),))


class Rule(NamedTuple):
    resources: Sequence[tuple[str, str]]  # Plural and group; either may be "*".
    sealer: Sealer


class Encryption:
    """Finds the sealer of a storage key. The first rule that names a kind decides; without one it is not encrypted."""

    def __init__(self, rules: Sequence[Rule], kinds: Iterable[Kind]) -> None:
        self._rules = rules
        self._resources: dict[str, tuple[str, str]] = {}
        for kind in kinds:
            # The first row of an object that is served in several groups is the one it is stored in.
            self._resources.setdefault(kind.prefix, (kind.plural, kind.group))
        self._sealers: dict[str, Sealer] = {}

    def sealer(self, key: str) -> Sealer:
        folder = _folder(key, 2)
        sealer = self._sealers.get(folder)
        if sealer is None:
            sealer = self._sealers[folder] = self._find(folder)
        return sealer

    def _find(self, folder: str) -> Sealer:
        known = self._resources.get(folder) or self._resources.get(_folder(folder, 1))
        if known is None:
            # A custom resource: "/registry/GROUP/PLURAL/". What else there is belongs to no kind.
            _, _, group, plural, *_ = (*folder.split("/"), "", "")
            known = (plural, group) if "." in group else ("", "")
        plural, group = known
        for resources, sealer in self._rules:
            for wanted, of in resources:
                if plural and wanted in ("*", plural) and of in ("*", group):
                    return sealer
        return UNSEALED


def load_encryption(config: Json, kinds: Iterable[Kind]) -> Encryption:
    """What an EncryptionConfiguration (apiserver.config.k8s.io/v1, decoded) says.

    Raises:
        Invalid: naming every fault, in upstream's wording.
    """
    errors: list[FieldError] = []
    rules = [
        Rule(_resources(entry, f"resources[{index}]", errors), _sealer(entry, f"resources[{index}]", errors))
        for index, entry in enumerate(config.get("resources") or ())
    ]
    if (config.get("kind"), config.get("apiVersion")) != ("EncryptionConfiguration", "apiserver.config.k8s.io/v1"):
        errors.append(
            FieldError("kind", "FieldValueInvalid", "must be EncryptionConfiguration of apiserver.config.k8s.io/v1")
        )
    if not rules:
        errors.append(
            FieldError("resources", "FieldValueRequired", "Required value: at least one resources is required")
        )
    if errors:
        raise invalid("EncryptionConfiguration", "", *errors)
    return Encryption(rules, kinds)


def _resources(entry: Json, path: str, errors: list[FieldError]) -> Sequence[tuple[str, str]]:
    found = []
    for index, text in enumerate(entry.get("resources") or ()):
        plural, _, group = text.partition(".")
        fault = ""
        if text != text.lower():
            fault = "resource name should not contain capital letters"
        elif text == "*":
            fault = "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        elif group == "*" and plural != "*":
            fault = "encrypting the same resource across groups is not supported"
        if fault:
            errors.append(
                FieldError(f"{path}.resources[{index}]", "FieldValueInvalid", f'Invalid value: "{text}": {fault}')
            )
        found.append((plural, group))
    if not found:
        errors.append(
            FieldError(f"{path}.resources", "FieldValueRequired", "Required value: at least one resources is required")
        )
    return found


def _sealer(entry: Json, path: str, errors: list[FieldError]) -> Sealer:
    providers: list[Provider] = []
    for index, provider in enumerate(entry.get("providers") or ()):
        at = f"{path}.providers[{index}]"
        named = [name for name in _KINDS_OF_PROVIDERS if name in provider]
        if len(named) != 1:
            what = "more than one provider specified in a single element, should split into different list elements"
            if not named:
                what = (
                    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
                )
            errors.append(FieldError(at, "FieldValueInvalid", what))
        elif named[0] == "identity":
            providers.append(Identity())
        elif named[0] == "aesgcm":
            providers += _keys(provider["aesgcm"] or {}, f"{at}.aesgcm", errors)
        else:
            errors.append(
                FieldError(f"{at}.{named[0]}", "FieldValueNotSupported", "Unsupported value: use aesgcm or identity")
            )
    if not providers:
        errors.append(
            FieldError(f"{path}.providers", "FieldValueRequired", "Required value: at least one provider is required")
        )
    return Sealer(providers)


def _keys(provider: Mapping[str, Any], path: str, errors: list[FieldError]) -> list[Provider]:
    keys: list[Provider] = []
    for index, key in enumerate(provider.get("keys") or ()):
        name, secret = key.get("name") or "", key.get("secret") or ""
        for field, value in (("name", name), ("secret", secret)):
            if not value:
                what = f"Required value: {field} is a mandatory field for a key"
                errors.append(FieldError(f"{path}.keys[{index}].{field}", "FieldValueRequired", what))
        try:
            decoded = base64.b64decode(secret, validate=True)
        except (binascii.Error, ValueError):
            what = 'Invalid value: "REDACTED": secrets must be base64 encoded'
            errors.append(FieldError(f"{path}.keys[{index}].secret", "FieldValueInvalid", what))
            continue
        if len(decoded) in _KEY_BYTES:
            keys.append(AesGcm(name, decoded))
        elif secret:
            what = f"secret is not of the expected length, got {len(decoded)}, expected one of [16 24 32]"
            errors.append(
                FieldError(f"{path}.keys[{index}].secret", "FieldValueInvalid", f'Invalid value: "REDACTED": {what}')
            )
    if not provider.get("keys"):
        errors.append(FieldError(f"{path}.keys", "FieldValueRequired", "Required value: at least one keys is required"))
    return keys


def _folder(key: str, depth: int) -> str:
    """The first `depth` folders of a key below /registry/: "/registry/secrets/" for 1."""
    parts = key.split("/", 2 + depth)
    return "/".join(parts[: 2 + depth]) + "/"
