"""Client certificates: the common name is the user, the organizations are the groups."""

from collections import OrderedDict

from kobune.controlplane.apiserver.request import User

REMEMBERED = 1024  # Certificates; reading one takes 50 µs, and a client shows the same one with every request.
UID_ATTRIBUTE = "1.3.6.1.4.1.57683.2"  # Source: upstream request/x509, since 1.34.


class CertificateAuthenticator:
    """Reads certificates that TLS has verified already."""

    def __init__(self) -> None:
        self._users: OrderedDict[bytes, User | None] = OrderedDict()

    def user(self, certificate: bytes) -> User | None:
        """The subject; None when it has no common name."""
        try:
            return self._users[certificate]
        except KeyError:
            user = self._users[certificate] = _subject(certificate)
            if len(self._users) > REMEMBERED:
                self._users.popitem(last=False)
            return user


def _subject(certificate: bytes) -> User | None:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_der_x509_certificate(certificate).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        return None
    groups = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    uids = subject.get_attributes_for_oid(x509.ObjectIdentifier(UID_ATTRIBUTE))
    uid = str(uids[0].value) if len(uids) == 1 else ""
    return User(str(names[0].value), uid, (*groups, "system:authenticated"))
