"""The ways to seal a value, in upstream's forms: `k8s:enc:PROVIDER:v1:KEY NAME:` and what the provider's cipher makes of it."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from kobune.controlplane.store.contract import Damaged

SEALED = b"k8s:enc:"


class Cipher(Protocol):
    """What one key makes of a value."""

    def seal(self, key: bytes, value: bytes) -> bytes:
        """
        Args:
            key: where the value is stored.
        """

    def open(self, key: bytes, sealed: bytes) -> bytes:
        """Raises InvalidTag when it was changed, or sealed with another key, or, where the cipher tells, for another place."""


class AesGcm:
    """A nonce of 12 bytes, the ciphertext and its tag; the storage key is authenticated with it, so that a value cannot be
    moved to another object. A key should be replaced well before it has sealed 2^32 values.
    """

    NONCE_BYTES = 12
    TAG_BYTES = 16

    def __init__(self, secret: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._cipher = AESGCM(secret)
        self._random = random

    def seal(self, key: bytes, value: bytes) -> bytes:
        nonce = self._random(self.NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, key)

    def open(self, key: bytes, sealed: bytes) -> bytes:
        if len(sealed) < self.NONCE_BYTES + self.TAG_BYTES:
            raise InvalidTag
        return self._cipher.decrypt(sealed[: self.NONCE_BYTES], sealed[self.NONCE_BYTES :], key)


class AesCbc:
    """An initialization vector of 16 bytes and the ciphertext, padded to whole blocks with the number of bytes added.

    Nothing is authenticated, so of what was changed only that is noticed which spoils the padding.
    """

    BLOCK_BYTES = 16

    def __init__(self, secret: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._algorithm = AES(secret)
        self._random = random

    def seal(self, key: bytes, value: bytes) -> bytes:
        vector, added = self._random(self.BLOCK_BYTES), self.BLOCK_BYTES - len(value) % self.BLOCK_BYTES
        encryptor = BlockCipher(self._algorithm, CBC(vector)).encryptor()
        return vector + encryptor.update(value + bytes([added]) * added) + encryptor.finalize()

    def open(self, key: bytes, sealed: bytes) -> bytes:
        if len(sealed) < 2 * self.BLOCK_BYTES or len(sealed) % self.BLOCK_BYTES:
            raise InvalidTag
        decryptor = BlockCipher(self._algorithm, CBC(sealed[: self.BLOCK_BYTES])).decryptor()
        padded = decryptor.update(sealed[self.BLOCK_BYTES :]) + decryptor.finalize()
        added = padded[-1]
        if not 0 < added <= self.BLOCK_BYTES or padded[-added:] != bytes([added]) * added:
            raise InvalidTag
        return padded[:-added]


class Provider:
    """A cipher under the name by which its values are known; without a cipher values stay as they are."""

    def __init__(self, prefix: bytes = b"", cipher: Cipher | None = None) -> None:
        self._prefix = prefix
        self._cipher = cipher

    def seals(self, stored: bytes) -> bool:
        """Whether it made this."""
        return stored.startswith(self._prefix) if self._cipher else not stored.startswith(SEALED)

    def seal(self, key: bytes, value: bytes) -> bytes:
        return self._prefix + self._cipher.seal(key, value) if self._cipher else value

    def open(self, key: bytes, stored: bytes) -> bytes:
        """Raises InvalidTag."""
        return self._cipher.open(key, stored[len(self._prefix) :]) if self._cipher else stored


IDENTITY = Provider()


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
        tried = None
        for provider in self._providers:
            if provider.seals(stored):
                try:
                    return Opened(provider.open(key.encode(), stored), provider is not self._providers[0])
                except InvalidTag as error:
                    tried = error  # Keys may share a name; another one of that name may open it.
        if tried is not None:
            raise Damaged(f"{key} cannot be decrypted: it was changed, or its encryption key was") from tried
        what = "its encryption key is not configured" if stored.startswith(SEALED) else "it is not encrypted"
        raise Damaged(f"{key} cannot be read: {what}")


UNSEALED = Sealer((IDENTITY,))
