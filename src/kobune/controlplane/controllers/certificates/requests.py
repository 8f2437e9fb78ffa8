"""What a CertificateSigningRequest asks for, and for whom each signer may sign. Pure."""

import base64
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from kobune.api.objects.meta import GVK, Condition, Object, View, is_true

KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
API_CLIENT = "kubernetes.io/kube-apiserver-client"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (KUBELET_CLIENT, KUBELET_SERVING, API_CLIENT, LEGACY)

NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
# Sets of usages that a signer accepts, with and without key encipherment, which only RSA keys need.
CLIENT_USAGES = frozenset({"digital signature", "client auth"})
SERVING_USAGES = frozenset({"digital signature", "server auth"})
ENCIPHERMENT = frozenset({"key encipherment"})


class CertificateSigningRequestSpec(View):
    request: str = ""  # PEM in base64.
    signer_name: str = ""
    expiration_seconds: int | None = None
    usages: list[str] = msgspec.field(default_factory=list)
    username: str = ""
    uid: str = ""
    groups: list[str] = msgspec.field(default_factory=list)
    extra: dict[str, list[str]] = msgspec.field(default_factory=dict)


class CertificateSigningRequestStatus(View):
    conditions: list[Condition] = msgspec.field(default_factory=list)
    certificate: str = ""


class CertificateSigningRequest(Object):
    gvk: ClassVar[GVK] = GVK("certificates.k8s.io", "v1", "CertificateSigningRequest")
    spec: CertificateSigningRequestSpec = msgspec.field(default_factory=CertificateSigningRequestSpec)
    status: CertificateSigningRequestStatus = msgspec.field(default_factory=CertificateSigningRequestStatus)

    def has(self, kind: str) -> bool:
        """A condition of that type is true."""
        return is_true(self.status.conditions, kind)

    @property
    def x509(self) -> x509.CertificateSigningRequest:
        """The request itself. Raises ValueError when it cannot be read."""
        return x509.load_pem_x509_csr(base64.b64decode(self.spec.request))


class Names(NamedTuple):
    """Whom the certificate would be for."""

    common_name: str
    organizations: list[str]
    dns: list[str]
    addresses: list[str]
    emails: list[str]
    uris: list[str]


def names_of(request: x509.CertificateSigningRequest) -> Names:
    common = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    organizations = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    try:
        others = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        others = x509.SubjectAlternativeName([])
    return Names(
        str(common[0].value) if common else "",
        [str(each.value) for each in organizations],
        others.get_values_for_type(x509.DNSName),
        [str(each) for each in others.get_values_for_type(x509.IPAddress)],
        others.get_values_for_type(x509.RFC822Name),
        others.get_values_for_type(x509.UniformResourceIdentifier),
    )


def refusal(item: CertificateSigningRequest) -> str | None:
    """Why the signer that is asked may not sign this; None when it may. Source: upstream signer's verification functions."""
    usages, signer = frozenset(item.spec.usages), item.spec.signer_name
    names = names_of(item.x509)
    if signer == LEGACY:
        return None
    if signer == API_CLIENT:
        allowed = CLIENT_USAGES | ENCIPHERMENT
        return None if "client auth" in usages and usages <= allowed else "usages did not match " + _listed(allowed)
    if names.organizations != [NODES_GROUP]:
        return "subject organization is not system:nodes"
    if not names.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    if names.emails or names.uris:
        return "email and URI subjectAltNames are not allowed"
    has_hosts = bool(names.dns or names.addresses)
    if signer == KUBELET_CLIENT:
        if has_hosts:
            return "DNS and IP subjectAltNames are not allowed"
        return None if usages - ENCIPHERMENT == CLIENT_USAGES else "usages did not match " + _listed(CLIENT_USAGES)
    if not has_hosts:
        return "DNS or IP subjectAltName is required"
    return None if usages - ENCIPHERMENT == SERVING_USAGES else "usages did not match " + _listed(SERVING_USAGES)


def is_node_client(item: CertificateSigningRequest) -> bool:
    """A kubelet's client certificate is asked for, and the signer would sign it."""
    return item.spec.signer_name == KUBELET_CLIENT and refusal(item) is None


def expiry(item: CertificateSigningRequest) -> timedelta | None:
    """How long after its last change the request is kept; None for ever. Source: upstream csrcleaner."""
    if item.status.certificate or item.has("Denied") or item.has("Failed"):
        return timedelta(hours=1)
    return timedelta(hours=24)


def last_change(item: CertificateSigningRequest) -> datetime | None:
    """When a condition was last set; before the first one, the creation."""
    times = [each.last_update_time for each in item.status.conditions if each.last_update_time is not None]
    return max(times) if times else item.metadata.creation_timestamp


def _listed(usages: frozenset[str]) -> str:
    return f"[{', '.join(sorted(usages))}]"
