"""The names of a cluster. Section numbers are of Kubernetes DNS-Based Service Discovery 1.1.0."""

from collections.abc import Iterable

import msgspec
import pytest

from kobune.api.objects.core import Service
from kobune.api.objects.discovery import EndpointSlice
from kobune.node.dns.records import Code, Record, resolve

ZONE = "cluster.local"


def service(name: str, address: str, **spec: object) -> Service:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    spec = {"clusterIP": address, "ports": ports, **spec}
    return msgspec.convert({"metadata": {"name": name, "namespace": "d"}, "spec": spec}, Service)


def piece(name: str, *endpoints: tuple[str, str | None, bool]) -> EndpointSlice:
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": "d", "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": [address], "hostname": hostname, "conditions": {"ready": ready}}
                for address, hostname, ready in endpoints
            ],
        },
        EndpointSlice,
    )


class Cluster:
    services = (
        service("web", "10.0.0.9"),
        service("db", "None"),
        service("out", "", type="ExternalName", externalName="example.org"),
        service("empty", "None"),
    )
    slices = (
        piece("web", ("10.244.0.9", None, True)),
        piece("db", ("10.244.0.2", "db-0", True), ("10.244.0.3", None, True), ("10.244.0.4", "db-2", False)),
    )

    def find_service(self, namespace: str, name: str) -> Service | None:
        return next((each for each in self.services if (each.namespace, each.name) == (namespace, name)), None)

    def slices_of(self, namespace: str, name: str) -> Iterable[EndpointSlice]:
        return [each for each in self.slices if (each.namespace, each.service) == (namespace, name)]

    def service_at(self, address: str) -> Service | None:
        return next((each for each in self.services if each.spec.cluster_ip == address), None)

    def slices_with(self, address: str) -> Iterable[EndpointSlice]:
        return [each for each in self.slices if any(address in one.addresses for one in each.endpoints)]

    def has_services(self, namespace: str) -> bool:
        return namespace == "d"


def ask(name: str, kind: str = "A") -> tuple[Code, list[tuple[str, str]]]:
    reply = resolve(name, kind, Cluster(), ZONE)
    return reply.code, [(record.type, record.data) for record in reply.answers]


@pytest.mark.parametrize(
    "name, kind, answers",
    [
        pytest.param("dns-version.cluster.local", "TXT", [("TXT", "1.1.0")], id="2.2-schema-version"),
        pytest.param("web.d.svc.cluster.local", "A", [("A", "10.0.0.9")], id="2.3.1-cluster-ip"),
        pytest.param("WEB.d.svc.Cluster.Local", "A", [("A", "10.0.0.9")], id="any-case"),
        pytest.param("_http._tcp.web.d.svc.cluster.local", "SRV", [("SRV", "0 100 80 web.d.svc.cluster.local")],
                     id="2.3.2-named-port"),
        pytest.param("9.0.0.10.in-addr.arpa", "PTR", [("PTR", "web.d.svc.cluster.local")], id="2.3.3-reverse"),
        pytest.param("db.d.svc.cluster.local", "A", [("A", "10.244.0.2"), ("A", "10.244.0.3")],
                     id="2.4.1-headless-has-its-ready-endpoints"),
        pytest.param("db-0.db.d.svc.cluster.local", "A", [("A", "10.244.0.2")], id="2.4.1-host-name"),
        pytest.param("10-244-0-3.db.d.svc.cluster.local", "A", [("A", "10.244.0.3")], id="2.4.1-made-up-host-name"),
        pytest.param("_http._tcp.db.d.svc.cluster.local", "SRV",
                     [("SRV", "0 50 8080 db-0.db.d.svc.cluster.local"),
                      ("SRV", "0 50 8080 10-244-0-3.db.d.svc.cluster.local")], id="2.4.2-headless-named-port"),
        pytest.param("2.0.244.10.in-addr.arpa", "PTR", [("PTR", "db-0.db.d.svc.cluster.local")],
                     id="2.4.3-reverse-of-an-endpoint"),
        pytest.param("out.d.svc.cluster.local", "A", [("CNAME", "example.org")], id="2.5-external-name"),
        pytest.param("10-244-0-7.d.pod.cluster.local", "A", [("A", "10.244.0.7")], id="a-pod-by-its-address"),
        pytest.param("web.d.svc.cluster.local", "AAAA", [], id="no-such-type-is-no-error"),
        pytest.param("d.svc.cluster.local", "A", [], id="a-namespace-exists"),
        pytest.param("cluster.local", "A", [], id="the-zone-exists"),
    ],
)  # fmt: skip
def test_names_of_the_cluster(name: str, kind: str, answers: list[tuple[str, str]]):
    assert ask(name, kind) == (Code.FOUND, answers)


@pytest.mark.parametrize(
    "name",
    [
        "none.d.svc.cluster.local",
        "web.other.svc.cluster.local",
        "db-2.db.d.svc.cluster.local",
        "empty.d.svc.cluster.local",
        "_https._tcp.web.d.svc.cluster.local",
        "x.y.z.web.d.svc.cluster.local",
        "other.svc.cluster.local",
        "300-1-1-1.d.pod.cluster.local",
        "web.d.cluster.local",
    ],
)
def test_names_that_the_cluster_does_not_have(name: str):
    assert ask(name) == (Code.NO_SUCH_NAME, [])


@pytest.mark.parametrize("name", ["example.org", "notcluster.local", "9.9.9.9.in-addr.arpa", "9.0.244.10.in-addr.arpa"])
def test_other_names_are_others_business(name: str):
    assert ask(name, "PTR") == (Code.NOT_OURS, [])


def test_targets_of_srv_records_come_with_their_addresses():
    reply = resolve("_http._tcp.db.d.svc.cluster.local", "SRV", Cluster(), ZONE)
    assert Record("db-0.db.d.svc.cluster.local", "A", "10.244.0.2") in reply.additional
