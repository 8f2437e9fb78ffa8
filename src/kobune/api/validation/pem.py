"""PEM blocks and what is in them, read as Go reads them."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

_BLOCK = re.compile(rb"-----BEGIN ([^\r\n]*?)-----[ \t\r]*\n(.*?)-----END \1-----", re.DOTALL)
_HEADERS = re.compile(rb"(?:[^\r\n:]+:[^\r\n]*\r?\n)+")


class Block(NamedTuple):
    type: str
    has_headers: bool
    data: bytes


def blocks(text: bytes) -> Iterator[Block]:
    """The blocks, whatever stands between them; one that is not base64 is passed over."""
    for found in _BLOCK.finditer(text):
        body = found[2]
        headers = _HEADERS.match(body)
        try:
            data = base64.b64decode(b"".join(body[headers.end() if headers else 0 :].split()), validate=True)
        except binascii.Error:
            continue
        yield Block(found[1].decode(errors="replace"), headers is not None, data)


def decoded(value: str | None) -> bytes:
    """The bytes of a field that holds some; none when it is not base64."""
    try:
        return base64.b64decode(value or "", validate=True)
    except binascii.Error:
        return b""


def signing_request(data: bytes) -> x509.CertificateSigningRequest:
    """A request for a certificate whose signature holds.

    Raises:
        ValueError: it is none, or the signature is wrong.
    """
    try:
        request = x509.load_der_x509_csr(data)
        if not request.is_signature_valid:
            raise ValueError("x509: invalid signature")
    except (InvalidSignature, UnsupportedAlgorithm, TypeError) as error:
        raise ValueError(str(error)) from error
    return request


def certificate(data: bytes) -> x509.Certificate:
    """
    Raises:
        ValueError: it is none.
    """
    return x509.load_der_x509_certificate(data)


def is_authority(of: x509.Certificate) -> bool:
    """Whether it may sign others."""
    try:
        return of.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
