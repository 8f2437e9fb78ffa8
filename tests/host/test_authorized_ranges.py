from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kobune.aks.clusters import Cluster
from kobune.host.authorized_ranges import admission_of
from kobune.host.pki import Authority
from kobune.host.spec import Spec


def spec(*ranges: str) -> Spec:
    return Spec(Cluster("demo", "1.36.1", (), authorized_ranges=ranges), api_port=6443, slot=2)


def certificate(tmp_path, user: str) -> bytes:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    credential = Authority.load_or_create(tmp_path, "ca", now).issue_client(user, (), now)
    return x509.load_pem_x509_certificate(credential.certificate).public_bytes(Encoding.DER)


def test_without_ranges_everybody_may_connect():
    assert admission_of(spec()) is None


def test_only_the_ranges_and_the_clusters_own_nodes_and_pods_may_connect(tmp_path):
    admits = admission_of(spec("192.0.2.0/24", "2001:db8::1"))
    admitted = ["192.0.2.7", "2001:db8::1", "10.226.0.4", "10.246.3.2"]
    refused = ["127.0.0.1", "192.0.3.1", "10.224.0.4", "::1"]
    admin = certificate(tmp_path, "masterclient")
    assert all(admits(address, None) for address in admitted)
    assert not any(admits(address, each) for address in refused for each in (None, admin))


def test_the_service_and_its_components_may_connect_from_this_machine(tmp_path):
    admits = admission_of(spec("192.0.2.0/24"))
    assert admits("127.0.0.1", certificate(tmp_path, "aksService"))
    assert admits("127.0.0.1", certificate(tmp_path, "system:kube-scheduler"))
