"""A front proxy that says in headers for whom it asks, and shows a certificate that lets it.

Source: upstream apiserver, pkg/authentication/request/headerrequest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.wire import all_values


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """Whom to believe, and which headers.

    Attributes:
        authority: PEM certificates; who shows one signed by them may speak for others.
        client_authority: PEM of those that sign clients' own certificates; who is signed by both is a client as well.
        allowed_names: common names that may; none: whoever has a certificate.
    """

    authority: bytes
    client_authority: bytes = b""
    allowed_names: tuple[str, ...] = ()
    username: tuple[str, ...] = ("X-Remote-User",)
    uid: tuple[str, ...] = ("X-Remote-Uid",)
    groups: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


class FrontProxies:
    def __init__(self, settings: RequestHeaders) -> None:
        self._settings = settings
        # Reading and verifying a certificate takes long, and a proxy shows the same one with every request.
        self._is_proxy = lru_cache(maxsize=256)(self._judge)
        self._is_client = lru_cache(maxsize=1024)(lambda der: is_signed_by(der, settings.client_authority))

    def user(self, certificate: bytes, headers: Mapping[str, str]) -> User | None:
        """For whom the holder of the certificate asks; None: it is no proxy, or says nothing."""
        settings = self._settings
        name = next((headers[one.lower()] for one in settings.username if headers.get(one.lower())), "")
        if not name or not self._is_proxy(certificate):
            return None
        uid = next((headers[one.lower()] for one in settings.uid if headers.get(one.lower())), "")
        groups = [group for one in settings.groups for group in all_values(headers, one.lower()) if group]
        return User(name, uid, groups, self._extra(headers))

    def is_client(self, certificate: bytes) -> bool:
        """Whether the certificate names its holder: not every one that TLS lets in does."""
        return self._is_client(certificate)

    def _extra(self, headers: Mapping[str, str]) -> dict[str, Sequence[str]]:
        extra: dict[str, Sequence[str]] = {}
        for prefix in map(str.lower, self._settings.extra_prefixes):
            for key in dict.fromkeys(map(str.lower, headers)):
                if key.startswith(prefix):
                    own = unquote(key.removeprefix(prefix))
                    extra[own] = [*extra.get(own, ()), *all_values(headers, key)]
        return extra

    def _judge(self, certificate: bytes) -> bool:
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        if not is_signed_by(certificate, self._settings.authority):
            return False
        names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        allowed = self._settings.allowed_names
        return not allowed or any(str(name.value) in allowed for name in names)


def is_signed_by(certificate: bytes, authorities: bytes) -> bool:
    """Whether one of the authorities (PEM) has issued the certificate (DER)."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    if not authorities:
        return False
    shown = x509.load_der_x509_certificate(certificate)
    for authority in x509.load_pem_x509_certificates(authorities):
        try:
            shown.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
