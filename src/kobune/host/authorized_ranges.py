"""AKS's authorised IP ranges: whence a managed cluster's API server may be reached.

Source: AKS documentation, secure access to the API server using authorized IP address ranges.
"""

from collections.abc import Callable
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.x509.oid import NameOID

from kobune.host.credentials import COMPONENTS
from kobune.host.spec import Spec

_OWN_USERS = frozenset(user for user, _ in COMPONENTS.values())


def admission_of(spec: Spec) -> Callable[[str, bytes | None], bool] | None:
    """Whether a client at an address, with a certificate (DER, signature checked), may speak to the API server.

    The cluster's nodes and pods always may, and so may the service and its components, which run on this machine
    whatever ranges the user gives. None: everybody may.
    """
    if not spec.cluster.authorized_ranges:
        return None
    networks = [
        ip_network(text, strict=False) for text in (*spec.cluster.authorized_ranges, spec.node_cidr, spec.pod_cidr)
    ]

    def admits(address: str, certificate: bytes | None) -> bool:
        where = ip_address(address)
        return any(where in network for network in networks) or _user_of(certificate) in _OWN_USERS

    return admits


def _user_of(certificate: bytes | None) -> str:
    if certificate is None:
        return ""
    names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
