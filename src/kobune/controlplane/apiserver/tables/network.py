"""The columns of Services and what carries their traffic."""

from datetime import datetime
from typing import Any

from kobune.api.errors import Json
from kobune.controlplane.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    SELECTOR,
    Column,
    GroupKind,
    Printer,
    age,
    labels_text,
    name_of,
    part,
    selector_text,
    with_more,
)  # fmt: skip

_SHOWN = 3  # Hosts of an Ingress that its cell names.
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


def service_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    addresses = spec.get("clusterIPs") or ()
    return [
        name_of(obj), spec.get("type", ""), addresses[0] if addresses else NONE, _external(obj, spec),
        ",".join(map(_service_port, spec.get("ports") or ())) or NONE, age(obj, now), labels_text(spec.get("selector")),
    ]  # fmt: skip


def _external(obj: Json, spec: Json) -> str:
    external: list[str] = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            balancers = _balancers(obj)
            return ",".join([*balancers.split(","), *external] if balancers else external) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return "<unknown>"


def _balancers(obj: Json) -> str:
    entries = part(part(obj, "status"), "loadBalancer").get("ingress") or ()
    return ",".join(sorted({entry.get("ip") or entry.get("hostname") or "" for entry in entries} - {""}))


def _service_port(port: Json) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol', '')}"


def endpoints_cells(obj: Json, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [address["ip"] for address in subset.get("addresses") or ()]
        ports = subset.get("ports")
        if not ports:
            found += addresses
        for port in ports or ():
            found += [_host_port(address, port["port"]) for address in addresses]
    return [name_of(obj), with_more(found, none=NONE if not obj.get("subsets") else ""), age(obj, now)]


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def slice_cells(obj: Json, now: datetime) -> list[Any]:
    ports = [str(port.get("port") or port.get("name") or "*") for port in obj.get("ports") or ()]
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return [name_of(obj), obj.get("addressType", ""), with_more(ports), with_more(addresses), age(obj, now)]


def ingress_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    ports = "80, 443" if spec.get("tls") else "80"
    hosts = _hosts(spec.get("rules") or [])
    return [name_of(obj), spec.get("ingressClassName", NONE), hosts, _balancers(obj), ports, age(obj, now)]


def _hosts(rules: list[Json]) -> str:
    """The first three hosts; `+ N more` counts rules, as upstream does."""
    places = [place for place, rule in enumerate(rules) if rule.get("host")]
    if not places:
        return "*"
    is_cut = len(places) >= _SHOWN and places[_SHOWN - 1] < len(rules) - 1
    more = f" + {len(rules) - _SHOWN} more..." if is_cut else ""
    return ",".join(rules[place]["host"] for place in places[:_SHOWN]) + more


def ingress_class_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    default = (obj["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    parameters = NONE
    if given := spec.get("parameters"):
        group = f".{given['apiGroup']}" if given.get("apiGroup") is not None else ""
        parameters = f"{given.get('kind', '')}{group}/{given.get('name', '')}"
    name = name_of(obj) + (" (default)" if default else "")
    return [name, spec.get("controller", ""), parameters, age(obj, now)]


def policy_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), selector_text(part(part(obj, "spec"), "podSelector")), age(obj, now)]


def cidr_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), ",".join(part(obj, "spec").get("cidrs") or ()), age(obj, now)]


def address_cells(obj: Json, now: datetime) -> list[Any]:
    parent = part(part(obj, "spec"), "parentRef")
    if not parent:
        return [name_of(obj), NONE]
    resource = f"{parent.get('resource', '')}.{parent.get('group', '')}".rstrip(".").lower()
    parts = (resource, parent.get("namespace"), parent.get("name"))
    return [name_of(obj), "/".join(piece for piece in parts if piece)]


PRINTERS: dict[GroupKind, Printer] = {
    ("", "Service"): Printer(
        (
            NAME,
            Column("Type", "How the service is exposed."),
            Column("Cluster-IP", "The service's address inside the cluster."),
            Column("External-IP", "The service's addresses from outside."),
            Column("Port(s)", "The service's ports, each with its node port."),
            AGE,
            SELECTOR._replace(description="Which pods the traffic goes to."),
        ),
        service_cells,
    ),
    ("", "Endpoints"): Printer((NAME, Column("Endpoints", "Where the traffic goes."), AGE), endpoints_cells),
    ("discovery.k8s.io", "EndpointSlice"): Printer(
        (
            NAME,
            Column("AddressType", "What the addresses are."),
            Column("Ports", "The ports of every endpoint."),
            Column("Endpoints", "The addresses of the endpoints."),
            AGE,
        ),
        slice_cells,
    ),
    ("networking.k8s.io", "Ingress"): Printer(
        (
            NAME,
            Column("Class", "Which controller carries the ingress out."),
            Column("Hosts", "The hosts that requests are for."),
            Column("Address", "Where requests arrive."),
            Column("Ports", "The ports on which requests arrive."),
            AGE,
        ),
        ingress_cells,
    ),
    ("networking.k8s.io", "IngressClass"): Printer(
        (
            NAME,
            Column("Controller", "Which controller carries ingresses of this class out."),
            Column("Parameters", "An object with further parameters."),
            AGE,
        ),
        ingress_class_cells,
    ),
    ("networking.k8s.io", "NetworkPolicy"): Printer(
        (NAME, Column("Pod-Selector", "Which pods the policy is for."), AGE), policy_cells
    ),
    ("networking.k8s.io", "ServiceCIDR"): Printer(
        (NAME, Column("CIDRs", "The ranges of addresses of services."), AGE), cidr_cells
    ),
    ("networking.k8s.io", "IPAddress"): Printer((NAME, Column("ParentRef", "What has the address.")), address_cells),
}
