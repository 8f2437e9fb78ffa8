from typing import Any

import pytest
from judge import changed, faults, kind_of, made, subresource_faults, update_faults

SERVICE, ENDPOINTS, SLICE = kind_of("Service"), kind_of("Endpoints"), kind_of("EndpointSlice", "discovery.k8s.io")
INGRESS, CLASS, POLICY, CIDR, ADDRESS = (
    kind_of(name, "networking.k8s.io", namespaced=name in ("Ingress", "NetworkPolicy"))
    for name in ("Ingress", "IngressClass", "NetworkPolicy", "ServiceCIDR", "IPAddress")
)
FINE = {
    SERVICE: made(SERVICE, {"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}),
    ENDPOINTS: made(ENDPOINTS, {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
    SLICE: made(SLICE, {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
    INGRESS: made(INGRESS, {"spec": {"rules": [{"host": "a.b", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
    CLASS: made(CLASS, {"spec": {"controller": "example.com/ingress"}}),
    POLICY: made(POLICY, {"spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]}}),
    CIDR: made(CIDR, {"spec": {"cidrs": ["10.0.0.0/24"]}}),
    ADDRESS: made(ADDRESS, {"spec": {"parentRef": {"resource": "services", "namespace": "d", "name": "s"}}}, name="10.0.0.1"),
}  # fmt: skip


def name_of(value: Any) -> str | None:
    return value.name if hasattr(value, "plural") else None


@pytest.mark.parametrize("kind", FINE, ids=name_of)
def test_sound_objects_have_no_fault(kind: Any):
    assert faults(kind, FINE[kind]) == []
    assert update_faults(kind, FINE[kind], FINE[kind]) == []


@pytest.mark.parametrize("kind, change, expected", [
    (SERVICE, {"spec__ports": []}, ["spec.ports: Required value"]),
    (SERVICE, {"spec__ports__0__port": 0}, ["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
    (SERVICE, {"spec__ports__0__nodePort": 30000}, ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]),
    (SERVICE, {"spec__ports": [{"port": 1, "protocol": "TCP", "targetPort": 1}, {"port": 2, "protocol": "TCP", "targetPort": 1, "name": "b"}]},
     ["spec.ports[0].name: Required value"]),
    (SERVICE, {"spec__ports": [{"port": 1, "protocol": "TCP", "targetPort": 1, "name": "a"}, {"port": 1, "protocol": "TCP", "targetPort": 1, "name": "b"}]},
     ['spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}']),
    (SERVICE, {"spec__type": "Weird"}, ['spec.type: Unsupported value: "Weird": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"']),
    (SERVICE, {"spec__type": "ExternalName"}, ["spec.externalName: Required value"]),
    (SERVICE, {"spec__sessionAffinity": "Sticky"},
     ['spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"']),
    (SERVICE, {"spec__clusterIP": "x", "spec__clusterIPs": ["x"]},
     ['spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
    (SERVICE, {"spec__externalTrafficPolicy": "Cluster", "spec__externalIPs": ["127.0.0.1"]}, ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
    (ENDPOINTS, {"subsets__0__addresses": []}, ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
    (ENDPOINTS, {"subsets__0__addresses__0__ip": "169.254.0.1"},
     ['subsets[0].addresses[0].ip: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)']),
    (SLICE, {"addressType": "IPX"}, ['addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"']),
    (SLICE, {"endpoints__0__addresses": []}, ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
    (SLICE, {"ports__0__protocol": "ICMP"}, ['ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"']),
    (INGRESS, {"spec__rules": None}, ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
    (INGRESS, {"spec__rules__0__host": "1.2.3.4"}, ['spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address']),
    (INGRESS, {"spec__rules__0__http__paths__0__path": "x"},
     ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path']),
    (INGRESS, {"spec__rules__0__http__paths__0__pathType": "Fuzzy"},
     ['spec.rules[0].http.paths[0].pathType: Unsupported value: "Fuzzy": supported values: "Exact", "ImplementationSpecific", "Prefix"']),
    (INGRESS, {"spec__rules__0__http__paths__0__backend__service__port": {}},
     ["spec.rules[0].http.paths[0].backend: Required value: port name or number is required"]),
    (CLASS, {"spec__controller": "x"}, ['spec.controller: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")']),
    (POLICY, {"spec__policyTypes": ["Sideways"]}, ['spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"']),
    (POLICY, {"spec__ingress__0__from__0": {}}, ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
    (POLICY, {"spec__ingress__0__from__0": {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}},
     ['spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/8": must be a strict subset of `cidr`']),
    (POLICY, {"spec__ingress__0__ports__0__endPort": 1},
     ["spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"]),
    (CIDR, {"spec__cidrs": []}, ["spec.cidrs: Required value: at least one CIDR required"]),
    (ADDRESS, {"metadata__name": "x"}, ['metadata.name: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
], ids=name_of)  # fmt: skip
def test_faults_of_new_objects(kind: Any, change: dict[str, Any], expected: list[str]):
    assert faults(kind, changed(FINE[kind], **change)) == expected


def test_a_cluster_address_stays():
    given = changed(FINE[SERVICE], spec__clusterIP="10.0.0.1", spec__clusterIPs=["10.0.0.1"])
    moved = changed(given, spec__clusterIP="10.0.0.2", spec__clusterIPs=["10.0.0.2"])
    assert update_faults(SERVICE, moved, given) == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    ]


def test_balancer_status_is_for_balancers():
    ingress = changed(FINE[SERVICE], status={"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}})
    assert subresource_faults(SERVICE, "status", ingress, FINE[SERVICE]) == [
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    ]
