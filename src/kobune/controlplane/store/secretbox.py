"""NaCl's secretbox, XSalsa20 and Poly1305: a nonce of 24 bytes, the tag and the ciphertext. Where the value is stored is not
authenticated.

Source: D. J. Bernstein, Extending the Salsa20 nonce, 2011; Cryptography in NaCl, 2009.
"""

import os
from collections.abc import Callable

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.poly1305 import Poly1305
from numpy.typing import NDArray

NONCE_BYTES = 24
TAG_BYTES = 16
_BLOCK_BYTES = 64
_SIGMA = np.frombuffer(b"expand 32-byte k", "<u4")
# Where the words of a state lie that all four quarter rounds of its columns begin with, and their second, third and fourth.
_DIAGONALS = np.array([(0, 5, 10, 15), (4, 9, 14, 3), (8, 13, 2, 7), (12, 1, 6, 11)])
# Rotations that make of these what the quarter rounds of the rows begin with.
_BY_ONE, _BY_TWO, _BY_THREE = np.array([(1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)])

Words = NDArray[np.uint32]


class Secretbox:
    """One key, of 32 bytes."""

    def __init__(self, secret: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._secret = secret
        self._random = random

    def seal(self, key: bytes, value: bytes) -> bytes:
        nonce = self._random(NONCE_BYTES)
        one_time, stream = self._streams(nonce, len(value))
        sealed = _xor(value, stream)
        return nonce + Poly1305.generate_tag(one_time, sealed) + sealed

    def open(self, key: bytes, sealed: bytes) -> bytes:
        start = NONCE_BYTES + TAG_BYTES
        if len(sealed) < start:
            raise InvalidTag
        one_time, stream = self._streams(sealed[:NONCE_BYTES], len(sealed) - start)
        try:
            Poly1305.verify_tag(one_time, sealed[start:], sealed[NONCE_BYTES:start])
        except InvalidSignature as error:
            raise InvalidTag from error
        return _xor(sealed[start:], stream)

    def _streams(self, nonce: bytes, size: int) -> tuple[bytes, NDArray[np.uint8]]:
        """The key of the tag, and as many bytes to hide the value."""
        mixed = _mixed(_states(self._secret, np.frombuffer(nonce[:16], "<u4")[:, None]))
        subkey = mixed[[0, 5, 10, 15, 6, 7, 8, 9], 0].astype("<u4").tobytes()
        blocks = (32 + size + _BLOCK_BYTES - 1) // _BLOCK_BYTES
        inputs = np.zeros((4, blocks), np.uint32)
        inputs[:2] = np.frombuffer(nonce[16:], "<u4")[:, None]
        inputs[2] = np.arange(blocks)
        states = _states(subkey, inputs)
        stream = (_mixed(states) + states).T.astype("<u4").tobytes()
        return stream[:32], np.frombuffer(stream, np.uint8)[32 : 32 + size]


def _states(secret: bytes, inputs: Words) -> Words:
    """The states [word, block] that a key begins with, for inputs [4, block]."""
    words = np.frombuffer(secret, "<u4")
    states = np.empty((16, inputs.shape[1]), np.uint32)
    states[[0, 5, 10, 15]] = _SIGMA[:, None]
    states[1:5] = words[:4, None]
    states[6:10] = inputs
    states[11:15] = words[4:, None]
    return states


def _mixed(states: Words) -> Words:
    """Salsa20's twenty rounds, without the addition at their end."""
    a, b, c, d = (states[diagonal] for diagonal in _DIAGONALS)
    for _ in range(20):
        b = b ^ _rotated(a + d, 7)
        c = c ^ _rotated(b + a, 9)
        d = d ^ _rotated(c + b, 13)
        a = a ^ _rotated(d + c, 18)
        # From columns to rows, and back.
        b, c, d = d[_BY_ONE], c[_BY_TWO], b[_BY_THREE]
    mixed = np.empty_like(states)
    for diagonal, words in zip(_DIAGONALS, (a, b, c, d), strict=True):
        mixed[diagonal] = words
    return mixed


def _rotated(words: Words, bits: int) -> Words:
    return (words << np.uint32(bits)) | (words >> np.uint32(32 - bits))


def _xor(value: bytes, stream: NDArray[np.uint8]) -> bytes:
    return (np.frombuffer(value, np.uint8) ^ stream).tobytes()
