"""Which endpoints serve each port of each Service: Services and EndpointSlices in, a table out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from kobune.api.objects.core import Service, ServicePort
from kobune.api.objects.discovery import Endpoint as SliceEndpoint
from kobune.api.objects.discovery import EndpointSlice

PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
AFFINITY_SECONDS = 10800  # Source: upstream, DefaultClientIPServiceAffinitySeconds.
OTHER_PROXY = "service.kubernetes.io/service-proxy-name"


class Endpoint(NamedTuple):
    address: str
    port: int
    local: bool  # On this node.


@dataclass(frozen=True, slots=True)
class ServicePortRules:
    """One port of one Service, with everything that rules follow from.

    Args:
        name: `namespace/name/protocol/port name`, as upstream names its chains.
        cluster: endpoints for whoever may use all; internal: for clients inside the cluster; external: for others.
            They differ from `cluster` by the Local policies only.
        external_ips: load balancers' and external addresses; node_port: 0 is none.
        local_external: clients' addresses are kept, since traffic from outside goes to this node's endpoints only.
    """

    name: str
    protocol: str  # As nftables spells it.
    cluster_ip: str
    port: int
    cluster: Sequence[Endpoint]
    internal: Sequence[Endpoint]
    external: Sequence[Endpoint]
    external_ips: Sequence[str] = ()
    node_port: int = 0
    affinity_seconds: int = 0
    local_internal: bool = False
    local_external: bool = False


def service_ports(
    services: Iterable[Service], slices: Iterable[EndpointSlice], *, node_name: str
) -> list[ServicePortRules]:
    """Every port that this node's rules serve, sorted by name. IPv4 only."""
    by_service: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in slices:
        if piece.address_type == "IPv4" and piece.service:
            by_service.setdefault((piece.namespace, piece.service), []).append(piece)
    return sorted(
        (
            _rules(service, port, by_service.get((service.namespace, service.name), ()), node_name)
            for service in services
            if is_proxied(service)
            for port in service.spec.ports
        ),
        key=lambda rules: rules.name,
    )


def is_proxied(service: Service) -> bool:
    """It has an IPv4 cluster address, and no other proxy has been asked to see to it."""
    address = service.spec.cluster_ip
    if service.spec.type == "ExternalName" or address in ("", "None") or OTHER_PROXY in service.metadata.labels:
        return False
    return ":" not in address


def choose(endpoints: Iterable[SliceEndpoint]) -> list[SliceEndpoint]:
    """The ready ones; when none is, those that still serve while they terminate. Source: upstream CategorizeEndpoints."""
    everyone = list(endpoints)
    ready = [each for each in everyone if each.is_ready]
    return ready or [each for each in everyone if each.is_serving and each.is_terminating]


def _rules(service: Service, port: ServicePort, slices: Iterable[EndpointSlice], node_name: str) -> ServicePortRules:
    spec = service.spec
    targets: list[tuple[SliceEndpoint, int]] = [
        (endpoint, target.port)
        for piece in slices
        for target in piece.ports
        if target.name == port.name and target.protocol == port.protocol and target.port is not None
        for endpoint in piece.endpoints
        if endpoint.addresses
    ]
    cluster = _endpoints(targets, node_name)
    # Locality comes first: a terminating endpoint here is better than none here.
    here = _endpoints([each for each in targets if each[0].node_name == node_name], node_name)
    local_internal = spec.internal_traffic_policy == "Local"
    local_external = spec.external_traffic_policy == "Local"
    protocol = PROTOCOLS[port.protocol]
    config = (spec.session_affinity_config or {}).get("clientIP") or {}
    return ServicePortRules(
        name=f"{service.namespace}/{service.name}/{protocol}/{port.name}",
        protocol=protocol,
        cluster_ip=spec.cluster_ip,
        port=port.port,
        cluster=cluster,
        internal=here if local_internal else cluster,
        external=here if local_external else cluster,
        external_ips=sorted({*spec.external_ips, *_balancer_ips(service)}),
        node_port=port.node_port,
        affinity_seconds=config.get("timeoutSeconds", AFFINITY_SECONDS) if spec.session_affinity == "ClientIP" else 0,
        local_internal=local_internal,
        local_external=local_external,
    )


def _endpoints(targets: Sequence[tuple[SliceEndpoint, int]], node_name: str) -> list[Endpoint]:
    chosen = {id(each) for each in choose(endpoint for endpoint, _ in targets)}
    found = {
        Endpoint(endpoint.addresses[0], port, endpoint.node_name == node_name)
        for endpoint, port in targets
        if id(endpoint) in chosen
    }
    return sorted(found, key=lambda each: (int(IPv4Address(each.address)), each.port))


def _balancer_ips(service: Service) -> list[str]:
    """The load balancer's addresses whose traffic arrives with them as destination."""
    return [
        ingress.ip
        for ingress in service.status.load_balancer.ingress
        if ingress.ip and ":" not in ingress.ip and ingress.ip_mode != "Proxy"
    ]
