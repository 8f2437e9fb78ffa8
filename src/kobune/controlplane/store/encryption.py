"""Which values are encrypted, and with which keys: upstream's EncryptionConfiguration, but for its provider kms."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import orjson

from kobune.api.errors import FieldError, Json, invalid
from kobune.api.kinds import Kind
from kobune.controlplane.store.sealing import IDENTITY, SEALED, UNSEALED, AesCbc, AesGcm, Cipher, Provider, Sealer

AES_KEY_BYTES, SECRETBOX_KEY_BYTES = (16, 24, 32), (32,)
# Source: upstream's validation of EncryptionConfiguration.
_KINDS_OF_PROVIDERS = ("kms", "aesgcm", "aescbc", "secretbox", "identity")
_NO_API = ("apiserveripinfo", "serviceipallocations", "servicenodeportallocations")
_TWICE = "the same resource cannot be specified multiple times"
_OVERLAP = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"


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
    texts = list(entry.get("resources") or ())
    found = [(plural, group) for plural, _, group in (text.partition(".") for text in texts)]
    if not found:
        what = f"Required value: at least one {path}.resources is required"
        errors.append(FieldError(f"{path}.resources", "FieldValueRequired", what))
    pairs = list(permutations(found, 2))
    for fault, is_so in (
        (_TWICE, any(one == other for one, other in pairs)),
        (_OVERLAP, any(_masks(*pair) for pair in pairs)),
    ):
        if is_so:
            what = f"Invalid value: {orjson.dumps(texts).decode()}: {fault}"
            errors.append(FieldError(f"{path}.resources", "FieldValueInvalid", what))
    for index, (text, (plural, group)) in enumerate(zip(texts, found, strict=True)):
        if fault := _fault(text, plural, group):
            what = f'Invalid value: "{text}": {fault}'
            errors.append(FieldError(f"{path}.resources[{index}]", "FieldValueInvalid", what))
    return found


def _masks(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return one != other and (one == ("*", "*") or (one[1] == other[1] and one[0] == "*"))


def _fault(text: str, plural: str, group: str) -> str:
    """What is wrong with the name of a resource; "" if nothing is."""
    if text != text.lower():
        return "resource name should not contain capital letters"
    if text == "*":
        return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
    if text in _NO_API:
        return "resources which do not have REST API/s cannot be encrypted"
    if group == "events.k8s.io":
        return (
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd."
            " Use 'events' instead in the config file"
        )
    if group == "extensions":
        return "'extensions' group has been removed and cannot be used for encryption"
    if group == "*" and plural != "*":
        return "encrypting the same resource across groups is not supported"
    return ""


def _sealer(entry: Json, path: str, errors: list[FieldError]) -> Sealer:
    providers: list[Provider] = []
    configured = entry.get("providers") or ()
    if not configured:
        what = f"Required value: at least one {path}.providers is required"
        errors.append(FieldError(f"{path}.providers", "FieldValueRequired", what))
    for index, provider in enumerate(configured):
        at = f"{path}.providers[{index}]"
        named = [name for name in _KINDS_OF_PROVIDERS if provider.get(name) is not None]
        if len(named) != 1:
            what = "more than one provider specified in a single element, should split into different list elements"
            if not named:
                what = (
                    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
                )
            errors.append(FieldError(at, "FieldValueInvalid", what))
        elif named[0] == "identity":
            providers.append(IDENTITY)
        elif named[0] == "kms":
            what = "Unsupported value: use aesgcm, secretbox, aescbc or identity"
            errors.append(FieldError(f"{at}.kms", "FieldValueNotSupported", what))
        else:
            providers += _keys(named[0], provider[named[0]], f"{at}.{named[0]}.keys", errors)
    return Sealer(providers)


def _keys(kind: str, provider: Mapping[str, Any], path: str, errors: list[FieldError]) -> list[Provider]:
    found: list[Provider] = []
    keys = provider.get("keys") or ()
    if not keys:
        errors.append(FieldError(path, "FieldValueRequired", "Required value: at least one keys is required"))
    sizes = SECRETBOX_KEY_BYTES if kind == "secretbox" else AES_KEY_BYTES
    for index, key in enumerate(keys):
        name, secret, at = key.get("name") or "", key.get("secret") or "", f"{path}[{index}]"
        for field, value in (("name", name), ("secret", secret)):
            if not value:
                what = f"Required value: {field} is a mandatory field for a key"
                errors.append(FieldError(f"{at}.{field}", "FieldValueRequired", what))
        if secret:
            decoded, fault = _decoded(secret, sizes)
            if fault:
                what = f'Invalid value: "REDACTED": {fault}'
                errors.append(FieldError(f"{at}.secret", "FieldValueInvalid", what))
            else:
                found.append(Provider(SEALED + f"{kind}:v1:{name}:".encode(), _cipher(kind)(decoded)))
    return found


def _decoded(secret: str, sizes: Sequence[int]) -> tuple[bytes, str]:
    """The key, or what is wrong with it."""
    try:
        decoded = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        return b"", "secrets must be base64 encoded"
    if len(decoded) not in sizes:
        expected = " ".join(map(str, sizes))
        return b"", f"secret is not of the expected length, got {len(decoded)}, expected one of [{expected}]"
    return decoded, ""


def _cipher(kind: str) -> Callable[[bytes], Cipher]:
    if kind == "secretbox":
        from kobune.controlplane.store.secretbox import Secretbox  # Late: few use it.

        return Secretbox
    return AesGcm if kind == "aesgcm" else AesCbc


def _folder(key: str, depth: int) -> str:
    """The first `depth` folders of a key below /registry/: "/registry/secrets/" for 1."""
    parts = key.split("/", 2 + depth)
    return "/".join(parts[: 2 + depth]) + "/"
