"""Keys and certificates: a cluster's own authority, and what it issues to servers, components, nodes and users."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
BACKDATED = timedelta(minutes=5)  # Clocks of other machines may be behind ours.

# The API server's names inside the cluster; its certificate bears them.
FRONT_PROXY = "front-proxy-client"  # Under which name the API server asks aggregated servers; also its files.
SERVICE_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Put both into `directory` as NAME.crt and NAME.key, readable by their owner alone."""
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        write_private(certificate, self.certificate)
        write_private(key, self.key)
        return certificate, key


class Authority:
    """A certificate authority."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential
        self._certificate = x509.load_pem_x509_certificate(credential.certificate)
        key = serialization.load_pem_private_key(credential.key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an elliptic curve key")
        self._key = key

    @classmethod
    def create(cls, name: str, now: datetime) -> "Authority":
        """A new self-signed authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        certificate = (
            x509.CertificateBuilder(subject, subject, public, x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(Credential(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)))

    @classmethod
    def load_or_create(cls, directory: Path, name: str, now: datetime, *, file: str = "ca") -> "Authority":
        """The authority kept in `directory` as FILE.crt and FILE.key, made on first use."""
        certificate, key = directory / f"{file}.crt", directory / f"{file}.key"
        if certificate.exists() and key.exists():
            return cls(Credential(certificate.read_bytes(), key.read_bytes()))
        authority = cls.create(name, now)
        authority.credential.write(directory, file)
        return authority

    def issue_client(self, user: str, groups: Sequence[str], now: datetime) -> Credential:
        """A certificate that makes its bearer `user` in `groups`, as Kubernetes reads common name and organizations."""
        return self._issue(user, groups, (ExtendedKeyUsageOID.CLIENT_AUTH,), (), now)

    def issue_server(self, name: str, hosts: Sequence[str], now: datetime, *, groups: Sequence[str] = ()) -> Credential:
        """A certificate for a server reached under `hosts`: DNS names and IP addresses."""
        return self._issue(name, groups, (ExtendedKeyUsageOID.SERVER_AUTH,), hosts, now)

    def issue_peer(self, name: str, hosts: Sequence[str], now: datetime) -> Credential:
        """A certificate for servers that are each other's clients, as the members of an etcd cluster."""
        usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue(name, (), usages, hosts, now)

    def _issue(
        self,
        name: str,
        groups: Sequence[str],
        usages: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str],
        now: datetime,
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder(self._certificate.subject, subject, public, x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + LEAF_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(issuer_key, critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Credential(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key))


def new_signing_key() -> bytes:
    """A private key, PEM, for signing ServiceAccount tokens (ES256)."""
    return key_pem(ec.generate_private_key(ec.SECP256R1()))


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as unencrypted PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def is_current(certificate: Path, hosts: Sequence[str], now: datetime) -> bool:
    """Whether a server certificate on disk covers `hosts` and stays valid for another month."""
    if not certificate.exists():
        return False
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    if found.not_valid_after_utc - now < timedelta(days=30):
        return False
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {_host(host) for host in hosts} <= set(names)


def write_private(path: Path, content: bytes) -> None:
    """Replace the file in one step, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
