"""Certificates that clients accept, and keys that nobody else reads."""

import ssl
import stat
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from kobune.host.pki import Authority, is_current

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_client_certificate_names_user_and_groups():
    issued = Authority.create("kobune", NOW).issue_client("system:node:a", ["system:nodes", "more"], NOW)
    subject = x509.load_pem_x509_certificate(issued.certificate).subject
    assert [part.value for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:a"]
    assert [part.value for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "system:nodes",
        "more",
    ]


def test_keys_are_readable_by_their_owner_alone_and_kept(tmp_path):
    first = Authority.load_or_create(tmp_path / "pki", "kobune", NOW)
    assert stat.S_IMODE((tmp_path / "pki" / "ca.key").stat().st_mode) == 0o600
    assert Authority.load_or_create(tmp_path / "pki", "kobune", NOW).credential == first.credential


def test_a_server_certificate_is_current_for_its_hosts_until_a_month_before_its_end(tmp_path):
    server = Authority.create("kobune", NOW).issue_server("api", ["127.0.0.1", "kubernetes.default"], NOW)
    certificate, _ = server.write(tmp_path, "api")
    assert is_current(certificate, ["127.0.0.1"], NOW)
    assert not is_current(certificate, ["127.0.0.1", "10.0.0.1"], NOW)
    assert not is_current(certificate, ["127.0.0.1"], NOW + timedelta(days=340))
    assert not is_current(tmp_path / "none.crt", ["127.0.0.1"], NOW)


def test_openssl_takes_certificate_and_key_as_a_pair(tmp_path):
    authority = Authority.create("kobune", datetime.now(UTC))
    certificate, key = authority.issue_server("api", ["localhost"], datetime.now(UTC)).write(tmp_path, "api")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=authority.credential.certificate.decode())
