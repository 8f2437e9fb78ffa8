"""NaCl's secretbox, XSalsa20 and Poly1305: a nonce of 24 bytes, the tag and the ciphertext. Where the value is stored is not
authenticated.
"""

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox as Box


class Secretbox:
    """One key, of 32 bytes."""

    def __init__(self, secret: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._box = Box(secret)
        self._random = random

    def seal(self, key: bytes, value: bytes) -> bytes:
        return bytes(self._box.encrypt(value, self._random(Box.NONCE_SIZE)))

    def open(self, key: bytes, sealed: bytes) -> bytes:
        try:
            return self._box.decrypt(sealed)
        except (CryptoError, ValueError) as error:  # The latter: it is too short to have a nonce.
            raise InvalidTag from error
