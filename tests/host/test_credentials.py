"""A cluster's keys and certificates: made once, and anew when a rotation is asked for."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kobune.aks.clusters import Cluster
from kobune.host.credentials import SERVICE, prepare
from kobune.host.layout import ClusterLayout
from kobune.host.spec import Spec

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SPEC = Spec(Cluster("demo", "1.36.1", ()), api_port=6443)


@pytest.fixture
def cluster(tmp_path):
    layout = ClusterLayout(tmp_path / "demo")
    prepare(layout, SPEC, [], NOW)
    return layout


def asking(**generations):
    return replace(SPEC, cluster=replace(SPEC.cluster, **generations))


def contents(cluster):
    return {path.name: path.read_bytes() for path in [*cluster.pki.iterdir(), cluster.kubeconfig]}


def test_what_is_good_stays(cluster):
    before = contents(cluster)
    prepare(cluster, SPEC, [], NOW)
    assert contents(cluster) == before


def test_rotated_certificates_are_all_new_and_signing_keys_stay(cluster):
    before = contents(cluster)
    prepare(cluster, asking(certificate_generation=2), [], NOW)
    after = contents(cluster)
    kept = {name for name in before if before[name] == after[name]}
    assert kept == {"service-account.key", "signing-key-generation"}
    assert f"{SERVICE}.kubeconfig" in after
    prepare(cluster, asking(certificate_generation=2), [], NOW)
    assert contents(cluster) == after


def test_an_interrupted_rotation_of_certificates_begins_anew(cluster):
    prepare(cluster, asking(certificate_generation=2), [], NOW)
    (cluster.pki / "certificate-generation").unlink()
    half = contents(cluster)
    prepare(cluster, asking(certificate_generation=2), [], NOW)
    assert contents(cluster)["ca.crt"] != half["ca.crt"]


def test_a_rotated_signing_key_leaves_the_one_before_for_checking(cluster):
    first = (cluster.pki / "service-account.key").read_bytes()
    prepare(cluster, asking(service_account_key_generation=2), [], NOW)
    second = (cluster.pki / "service-account.key").read_bytes()
    assert (cluster.pki / "service-account-previous.key").read_bytes() == first != second
    prepare(cluster, asking(service_account_key_generation=2), [], NOW)
    assert (cluster.pki / "service-account.key").read_bytes() == second


def test_an_interrupted_rotation_of_the_signing_key_is_ended(cluster):
    first = (cluster.pki / "service-account.key").read_bytes()
    (cluster.pki / "service-account-previous.key").write_bytes(first)
    (cluster.pki / "signing-key-generation").write_text("2")
    prepare(cluster, asking(service_account_key_generation=2), [], NOW)
    assert (cluster.pki / "service-account.key").read_bytes() != first
    assert (cluster.pki / "service-account-previous.key").read_bytes() == first
