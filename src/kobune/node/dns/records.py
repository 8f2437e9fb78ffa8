"""The names of a cluster: a question in, records out. Nothing here reads a socket.

Source: Kubernetes DNS-Based Service Discovery, version 1.1.0; where it is silent, CoreDNS' kubernetes plugin.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple, Protocol

from kobune.api.objects.core import Service, ServicePort
from kobune.api.objects.discovery import Endpoint, EndpointSlice, SlicePort

SCHEMA_VERSION = "1.1.0"
TTL_SECONDS = 5  # Source: CoreDNS' kubernetes plugin.
REVERSE = "in-addr.arpa"


class Code(StrEnum):
    """What an answer says as a whole."""

    FOUND = "NOERROR"  # Perhaps without records of the type asked for.
    NO_SUCH_NAME = "NXDOMAIN"
    NOT_OURS = "forward"  # Outside the cluster's names.


class Record(NamedTuple):
    """One record; `data` is an address, a name, a text, or "PRIORITY WEIGHT PORT TARGET"."""

    name: str
    type: str
    data: str


class Reply(NamedTuple):
    code: Code
    answers: Sequence[Record] = ()
    additional: Sequence[Record] = ()


class Directory(Protocol):
    """What the cluster has, as watched."""

    def find_service(self, namespace: str, name: str) -> Service | None: ...
    def slices_of(self, namespace: str, name: str) -> Iterable[EndpointSlice]: ...
    def service_at(self, address: str) -> Service | None: ...
    def slices_with(self, address: str) -> Iterable[EndpointSlice]: ...
    def has_services(self, namespace: str) -> bool: ...


NO_SUCH_NAME, NO_RECORDS = Reply(Code.NO_SUCH_NAME), Reply(Code.FOUND)


def resolve(name: str, kind: str, directory: Directory, zone: str) -> Reply:
    """The reply to one question.

    Args:
        name: in full, without the last dot, any case.
        kind: "A", "AAAA", "SRV", "PTR", "TXT", "CNAME" or "ANY"; others have no records.
        zone: the cluster's domain, as "cluster.local".
    """
    lower = name.lower()
    if lower.endswith("." + REVERSE):
        return _reverse(name, lower, kind, directory, zone)
    if lower != zone and not lower.endswith("." + zone):
        return Reply(Code.NOT_OURS)
    labels = lower.removesuffix(zone).rstrip(".").split(".") if lower != zone else []
    if labels == ["dns-version"]:
        return _of_kind(kind, [Record(name, "TXT", SCHEMA_VERSION)])
    match labels:
        case [] | ["svc"] | ["pod"]:
            return NO_RECORDS
        case [namespace, "svc"]:
            return NO_RECORDS if directory.has_services(namespace) else NO_SUCH_NAME
        case [dashed, _, "pod"]:
            # Whether there is such a pod is not asked, as AKS' CoreDNS does not: a node may not watch all pods.
            address = _from_dashes(dashed)
            return _of_kind(kind, [Record(name, "A", address)]) if address else NO_SUCH_NAME
        case [*rest, service, namespace, "svc"] if len(rest) <= 2:
            found = directory.find_service(namespace, service)
            return _service(name, kind, rest, found, directory, zone) if found else NO_SUCH_NAME
    return NO_SUCH_NAME


def _service(name: str, kind: str, rest: Sequence[str], service: Service, directory: Directory, zone: str) -> Reply:
    spec = service.spec
    if spec.type == "ExternalName":
        target = [Record(name, "CNAME", spec.external_name.rstrip("."))]
        return Reply(Code.FOUND, target) if not rest else NO_SUCH_NAME
    slices = [each for each in directory.slices_of(service.namespace, service.name) if each.address_type == "IPv4"]
    headless = spec.cluster_ip == "None"
    match rest:
        case []:
            ready = _ready(slices)
            addresses = [each.addresses[0] for each in ready] if headless else [spec.cluster_ip]
            records = [Record(name, "A", address) for address in dict.fromkeys(addresses) if ":" not in address]
            if kind == "SRV":
                return _srv(name, service, slices, directory, zone)
            if not headless or records:
                return _of_kind(kind, records)
            return NO_SUCH_NAME if not ready else NO_RECORDS
        case [hostname]:
            if not headless and not any(each.hostname == hostname for each in _ready(slices)):
                return NO_SUCH_NAME
            matching = [each.addresses[0] for each in _ready(slices) if _hostname(each) == hostname]
            return _of_kind(kind, [Record(name, "A", address) for address in matching]) if matching else NO_SUCH_NAME
        case [port, protocol] if port.startswith("_") and protocol in ("_tcp", "_udp", "_sctp"):
            return _srv(name, service, slices, directory, zone, port=port[1:], protocol=protocol[1:].upper())
    return NO_SUCH_NAME


def _srv(
    name: str, service: Service, slices: Sequence[EndpointSlice], directory: Directory, zone: str,
    *, port: str = "", protocol: str = "",
) -> Reply:  # fmt: skip
    """One record for each port (or the one that was named), and the addresses of their targets."""
    full = f"{service.name}.{service.namespace}.svc.{zone}"
    targets: list[tuple[int, str, str]] = []  # Port, name, address.

    def fits(each: ServicePort | SlicePort) -> bool:
        return not port or (each.name == port and each.protocol == protocol)

    if service.spec.cluster_ip == "None":
        targets = [
            (number.port, f"{_hostname(endpoint)}.{full}", endpoint.addresses[0])
            for piece in slices
            for number in piece.ports
            if fits(number) and number.port is not None
            for endpoint in piece.endpoints
            if endpoint.is_ready and endpoint.addresses
        ]
    else:
        targets = [(each.port, full, service.spec.cluster_ip) for each in service.spec.ports if fits(each)]
    if not targets:
        return NO_SUCH_NAME
    weight = max(1, 100 // len(targets))
    answers = [Record(name, "SRV", f"0 {weight} {number} {target}") for number, target, _ in targets]
    more = dict.fromkeys(Record(target, "A", address) for _, target, address in targets)
    return Reply(Code.FOUND, answers, list(more))


def _reverse(name: str, lower: str, kind: str, directory: Directory, zone: str) -> Reply:
    parts = lower.removesuffix("." + REVERSE).split(".")
    try:
        address = str(IPv4Address(".".join(reversed(parts))))
    except AddressValueError:
        return Reply(Code.NOT_OURS)
    service = directory.service_at(address)
    if service is not None:
        return _of_kind(kind, [Record(name, "PTR", f"{service.name}.{service.namespace}.svc.{zone}")])
    names = [
        f"{_hostname(endpoint)}.{piece.service}.{piece.namespace}.svc.{zone}"
        for piece in directory.slices_with(address)
        for endpoint in piece.endpoints
        if address in endpoint.addresses and _is_named(piece, endpoint, directory)
    ]
    return (
        _of_kind(kind, [Record(name, "PTR", each) for each in dict.fromkeys(names)]) if names else Reply(Code.NOT_OURS)
    )


def _is_named(piece: EndpointSlice, endpoint: Endpoint, directory: Directory) -> bool:
    """Only endpoints of headless Services, and those that chose a host name, have names of their own."""
    service = directory.find_service(piece.namespace, piece.service)
    return service is not None and (service.spec.cluster_ip == "None" or bool(endpoint.hostname))


def _ready(slices: Iterable[EndpointSlice]) -> list[Endpoint]:
    return [endpoint for piece in slices for endpoint in piece.endpoints if endpoint.is_ready and endpoint.addresses]


def _hostname(endpoint: Endpoint) -> str:
    return endpoint.hostname or endpoint.addresses[0].replace(".", "-")


def _from_dashes(label: str) -> str | None:
    try:
        return str(IPv4Address(label.replace("-", ".")))
    except AddressValueError:
        return None


def _of_kind(kind: str, records: Sequence[Record]) -> Reply:
    """The records, or none when another type was asked for; the name exists either way."""
    return Reply(Code.FOUND, [record for record in records if kind in (record.type, "ANY") or record.type == "CNAME"])
