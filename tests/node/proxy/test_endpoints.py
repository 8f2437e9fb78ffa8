"""Which endpoints serve a Service's port, by upstream's documented rules."""

import msgspec
import pytest

from kobune.api.objects.core import Service
from kobune.api.objects.discovery import EndpointSlice
from kobune.node.proxy.endpoints import Endpoint, ServicePortRules, service_ports


def service(**spec: object) -> Service:
    meta = {"name": "web", "namespace": "d", "labels": spec.pop("labels", {})}
    status = spec.pop("status", {})
    spec = {"clusterIP": "10.0.0.9", "ports": [{"port": 80}], **spec}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, Service)


def endpoint(address: str, node: str = "here", **conditions: bool) -> dict[str, object]:
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


def piece(*endpoints: dict[str, object], port: int = 8080, **fields: object) -> EndpointSlice:
    meta = {"name": "web-1", "namespace": "d", "labels": {"kubernetes.io/service-name": "web"}}
    document = {"metadata": meta, "addressType": "IPv4", "ports": [{"port": port}], "endpoints": list(endpoints)}
    return msgspec.convert(document | fields, EndpointSlice)


def rules(what: Service, *slices: EndpointSlice) -> ServicePortRules:
    (only,) = service_ports([what], slices, node_name="here")
    return only


def addresses(endpoints: list[Endpoint]) -> list[str]:
    return [each.address for each in endpoints]


@pytest.mark.parametrize(
    "endpoints, chosen",
    [
        pytest.param([endpoint("1.1.1.1"), endpoint("1.1.1.2", ready=True)], ["1.1.1.1", "1.1.1.2"],
                     id="unknown-is-ready"),
        pytest.param([endpoint("1.1.1.1", ready=False), endpoint("1.1.1.2")], ["1.1.1.2"], id="only-the-ready"),
        pytest.param([endpoint("1.1.1.1", ready=False, serving=True, terminating=True),
                      endpoint("1.1.1.2", ready=False, serving=False, terminating=True)], ["1.1.1.1"],
                     id="terminating-ones-when-nobody-is-ready"),
        pytest.param([endpoint("1.1.1.1", ready=False)], [], id="none"),
    ],
)  # fmt: skip
def test_ready_endpoints_are_chosen(endpoints: list[dict[str, object]], chosen: list[str]):
    assert addresses(rules(service(), piece(*endpoints)).cluster) == chosen


def test_several_slices_are_one_and_an_endpoint_in_two_counts_once():
    found = rules(service(), piece(endpoint("1.1.1.2")), piece(endpoint("1.1.1.1"), endpoint("1.1.1.2")))
    assert addresses(found.cluster) == ["1.1.1.1", "1.1.1.2"]


def test_ports_meet_by_name_and_protocol():
    both = service(ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2, "protocol": "UDP"}])
    targets = [{"name": "a", "port": 11}, {"name": "b", "port": 12, "protocol": "UDP"}, {"name": "b", "port": 13}]
    found = service_ports([both], [piece(endpoint("1.1.1.1"), ports=targets)], node_name="here")
    assert [(port.name, [each.port for each in port.cluster]) for port in found] == [
        ("d/web/tcp/a", [11]),
        ("d/web/udp/b", [12]),
    ]


def test_local_policies_keep_traffic_on_the_node():
    what = service(internalTrafficPolicy="Local", externalTrafficPolicy="Local")
    found = rules(what, piece(endpoint("1.1.1.1"), endpoint("1.1.1.2", node="there")))
    assert addresses(found.cluster) == ["1.1.1.1", "1.1.1.2"]
    assert addresses(found.internal) == addresses(found.external) == ["1.1.1.1"]


def test_client_affinity_lasts_three_hours_unless_told():
    assert rules(service(sessionAffinity="ClientIP")).affinity_seconds == 10800
    config = {"clientIP": {"timeoutSeconds": 60}}
    assert rules(service(sessionAffinity="ClientIP", sessionAffinityConfig=config)).affinity_seconds == 60
    assert rules(service(sessionAffinityConfig=config)).affinity_seconds == 0


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(service(clusterIP="None"), id="headless"),
        pytest.param(service(type="ExternalName", clusterIP=""), id="external-name"),
        pytest.param(service(labels={"service.kubernetes.io/service-proxy-name": "other"}), id="another-proxy's"),
        pytest.param(service(clusterIP="fd00::1"), id="ipv6"),
    ],
)
def test_services_that_are_not_ours_have_no_rules(what: Service):
    assert service_ports([what], [piece(endpoint("1.1.1.1"))], node_name="here") == []


def test_load_balancer_addresses_are_served_unless_they_are_proxied():
    ingress = [{"ip": "5.5.5.5"}, {"ip": "5.5.5.6", "ipMode": "Proxy"}, {"hostname": "lb"}]
    what = service(externalIPs=["4.4.4.4"], status={"loadBalancer": {"ingress": ingress}})
    assert rules(what).external_ips == ["4.4.4.4", "5.5.5.5"]
