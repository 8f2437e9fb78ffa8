"""Ingresses, their classes, NetworkPolicies, and the records of service addresses."""

from ipaddress import IPv4Network, IPv6Network

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import IMMUTABLE, forbidden, invalid, not_supported, required, too_long
from kobune.api.names import Check
from kobune.api.validation.addresses import (
    check_canonical_cidr,
    check_canonical_ip,
    check_cidr,
    check_ip,
    is_ipv6,
    parse_cidr,
    parse_ip,
)
from kobune.api.validation.checks import Errors, check_immutable, check_name, check_port, check_required_name
from kobune.api.validation.domains import check_domain_path
from kobune.api.validation.kinds import Rules
from kobune.api.validation.selectors import check_label_selector

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
FORBIDDEN_IN_PATH = ("//", "/./", "/../", "%2f", "%2F")
FORBIDDEN_AT_END = ("/..", "/.")
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
LONGEST_CONTROLLER = 250
PROTOCOLS = ("TCP", "UDP", "SCTP")
NOT_A_NAME = "must be a DNS name, not an IP address"


def check_ingress(ingress: Json, errors: Errors) -> None:
    _check_ingress_spec(ingress.get("spec") or {}, errors)
    annotation = ((ingress.get("metadata") or {}).get("annotations") or {}).get(CLASS_ANNOTATION)
    name = (ingress.get("spec") or {}).get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        detail = "must match `ingressClassName` when both are specified"
        errors.append(invalid(f"annotations.{CLASS_ANNOTATION}", annotation, detail))


def check_ingress_update(new: Json, old: Json, errors: Errors) -> None:
    _check_ingress_spec(new.get("spec") or {}, errors)


def check_ingress_status(new: Json, old: Json, errors: Errors) -> None:
    before = ((old.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    known = [each["ip"] for each in before if each.get("ip")]
    for index, entry in enumerate(((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()):
        at = f"status.loadBalancer.ingress[{index}]"
        if entry.get("ip"):
            check_ip(entry["ip"], f"{at}.ip", errors, known)
        if entry.get("hostname"):
            check_name(names.is_dns1123_subdomain, entry["hostname"], f"{at}.hostname", errors)
            if parse_ip(entry["hostname"]) is not None:
                errors.append(invalid(f"{at}.hostname", entry["hostname"], NOT_A_NAME))


def check_ingress_class(ingress_class: Json, errors: Errors) -> None:
    spec = ingress_class.get("spec") or {}
    controller, parameters = spec.get("controller") or "", spec.get("parameters")
    if len(controller) > LONGEST_CONTROLLER:
        errors.append(too_long("spec.controller", LONGEST_CONTROLLER))
    check_domain_path(controller, "spec.controller", errors)
    if parameters is None:
        return
    at = "spec.parameters"
    check_local_reference(parameters, at, errors)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        errors.append(required(f"{at}.scope"))
    elif scope not in ("Cluster", "Namespace"):
        errors.append(not_supported(f"{at}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace":
        if namespace is None:
            errors.append(required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            check_name(names.is_dns1123_label, namespace, f"{at}.namespace", errors)
    elif namespace is not None:
        errors.append(forbidden(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'"))


def check_ingress_class_update(new: Json, old: Json, errors: Errors) -> None:
    check_immutable(new.get("spec") or {}, old.get("spec") or {}, "controller", "spec.controller", errors)
    check_ingress_class(new, errors)


def check_network_policy(policy: Json, errors: Errors) -> None:
    _check_policy_spec(policy.get("spec") or {}, [], errors)


def check_network_policy_update(new: Json, old: Json, errors: Errors) -> None:
    known = []
    for field, side in (("ingress", "from"), ("egress", "to")):
        for rule in (old.get("spec") or {}).get(field) or ():
            for peer in rule.get(side) or ():
                block = peer.get("ipBlock") or {}
                known += [block.get("cidr") or "", *(block.get("except") or ())]
    _check_policy_spec(new.get("spec") or {}, known, errors)


def check_ip_address(address: Json, errors: Errors) -> None:
    parent, at = (address.get("spec") or {}).get("parentRef"), "spec.parentRef"
    if parent is None:
        errors.append(required(at))
        return
    if parent.get("group"):
        check_name(names.is_dns1123_subdomain, parent["group"], f"{at}.group", errors)
    for field in ("resource", "name"):
        check_required_name(names.is_path_segment_name, parent.get(field), f"{at}.{field}", errors)
    if parent.get("namespace"):
        check_name(names.is_path_segment_name, parent["namespace"], f"{at}.namespace", errors)


def check_ip_address_update(new: Json, old: Json, errors: Errors) -> None:
    check_immutable(new.get("spec") or {}, old.get("spec") or {}, "parentRef", "spec.parentRef", errors)


def check_service_cidr(service_cidr: Json, errors: Errors) -> None:
    spec, at = service_cidr.get("spec") or {}, "spec.cidrs"
    ranges = spec.get("cidrs") or []
    if not ranges:
        errors.append(required(at, "at least one CIDR required"))
    elif len(ranges) > 2:
        errors.append(invalid(at, spec, "may only hold up to 2 values"))
    else:
        for index, value in enumerate(ranges):
            check_canonical_cidr(value, f"{at}[{index}]", errors)
        if len(ranges) == 2 and all(map(parse_cidr, ranges)) and is_ipv6(ranges[0]) is is_ipv6(ranges[1]):
            detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            errors.append(invalid(at, ranges, detail))


def check_service_cidr_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = (new.get("spec") or {}).get("cidrs") or [], (old.get("spec") or {}).get("cidrs") or []
    grows = len(before) == 1 and len(after) == 2
    if len(after) != len(before) and not grows:
        errors.append(invalid("spec.cidrs", after, IMMUTABLE))
        return
    for index, value in enumerate(before):
        if after[index] != value:
            errors.append(invalid(f"spec.cidrs[{index}]", after[index], IMMUTABLE))
    if grows:
        check_service_cidr(new, errors)


def check_local_reference(reference: Json, path: str, errors: Errors) -> None:
    """An object of some kind in the same place."""
    if reference.get("apiGroup") is not None:
        check_name(names.is_dns1123_subdomain, reference["apiGroup"], f"{path}.apiGroup", errors)
    for field in ("kind", "name"):
        check_required_name(names.is_path_segment_name, reference.get(field), f"{path}.{field}", errors)


def address_name(address: Json) -> Check:
    """An IPAddress is named by its address."""

    def check(name: str) -> list[str]:
        errors: Errors = []
        check_canonical_ip(name, "", errors)
        return [error.message.partition(": ")[2].partition(": ")[2] for error in errors]

    return check


def _check_ingress_spec(spec: Json, errors: Errors) -> None:
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and backend is None:
        errors.append(invalid("spec", rules or None, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        _check_backend(backend, "spec.defaultBackend", errors)
    for index, rule in enumerate(rules):
        at, host = f"spec.rules[{index}]", rule.get("host")
        if host:
            if parse_ip(host) is not None:
                errors.append(invalid(f"{at}.host", host, NOT_A_NAME))
            _check_host(host, f"{at}.host", errors)
        http = rule.get("http")
        if http is not None:
            paths = http.get("paths") or []
            if not paths:
                errors.append(required(f"{at}.http.paths"))
            for position, path in enumerate(paths):
                _check_path(path, f"{at}.http.paths[{position}]", errors)
    for index, tls in enumerate(spec.get("tls") or ()):
        for position, host in enumerate(tls.get("hosts") or ()):
            _check_host(host, f"spec.tls[{index}].hosts[{position}]", errors)
        if tls.get("secretName"):
            check_name(names.is_dns1123_subdomain, tls["secretName"], f"spec.tls[{index}].secretName", errors)
    if spec.get("ingressClassName") is not None:
        check_name(names.is_dns1123_subdomain, spec["ingressClassName"], "spec.ingressClassName", errors)


def _check_host(host: str, path: str, errors: Errors) -> None:
    check_name(names.is_wildcard_dns1123_subdomain if "*" in host else names.is_dns1123_subdomain, host, path, errors)


def _check_path(path: Json, at: str, errors: Errors) -> None:
    kind, value = path.get("pathType"), path.get("path") or ""
    if kind is None:
        errors.append(required(f"{at}.pathType", "pathType must be specified"))
        return
    if kind not in PATH_TYPES:
        errors.append(not_supported(f"{at}.pathType", kind, PATH_TYPES))
    elif not value.startswith("/") and (value or kind != "ImplementationSpecific"):
        errors.append(invalid(f"{at}.path", value, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        for part in FORBIDDEN_IN_PATH:
            if part in value:
                errors.append(invalid(f"{at}.path", value, f"must not contain '{part}'"))
        for end in FORBIDDEN_AT_END:
            if value.endswith(end):
                errors.append(invalid(f"{at}.path", value, f"cannot end with '{end}'"))
    _check_backend(path.get("backend") or {}, f"{at}.backend", errors)


def _check_backend(backend: Json, path: str, errors: Errors) -> None:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        errors.append(invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        check_local_reference(resource, f"{path}.resource", errors)
    elif service is None:
        errors.append(invalid(path, "", "resource or service backend is required"))
    else:
        check_required_name(names.is_dns1123_label, service.get("name"), f"{path}.service.name", errors)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            errors.append(invalid(path, "", "cannot set both port name & port number"))
        elif port.get("name"):
            check_name(names.is_port_name, port["name"], f"{path}.service.port.name", errors)
        elif port.get("number"):
            check_port(port["number"], f"{path}.service.port.number", errors)
        else:
            errors.append(required(path, "port name or number is required"))


def _check_policy_spec(spec: Json, known: list[str], errors: Errors) -> None:
    check_label_selector(spec.get("podSelector"), "spec.podSelector", errors)
    for field, side in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(field) or ()):
            at = f"spec.{field}[{index}]"
            for position, port in enumerate(rule.get("ports") or ()):
                _check_policy_port(port, f"{at}.ports[{position}]", errors)
            for position, peer in enumerate(rule.get(side) or ()):
                _check_peer(peer, known, f"{at}.{side}[{position}]", errors)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        errors.append(invalid("spec.policyTypes", types, "may not specify more than two policyTypes"))
        return
    for index, kind in enumerate(types):
        if kind not in ("Ingress", "Egress"):
            errors.append(not_supported(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress")))


def _check_policy_port(port: Json, path: str, errors: Errors) -> None:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if isinstance(number, int):
        check_port(number, f"{path}.port", errors)
        if end is not None:
            if end < number:
                errors.append(invalid(f"{path}.endPort", number, "must be greater than or equal to `port`"))
            check_port(end, f"{path}.endPort", errors)
        return
    if end is not None:
        why = "not specified" if number is None else "non-numeric"
        errors.append(invalid(f"{path}.endPort", end, f"may not be specified when `port` is {why}"))
    if number is not None:
        check_name(names.is_port_name, number, f"{path}.port", errors)


def _check_peer(peer: Json, known: list[str], path: str, errors: Errors) -> None:
    selectors = [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    for field in selectors:
        check_label_selector(peer[field], f"{path}.{field}", errors)
    block = peer.get("ipBlock")
    if block is not None:
        _check_block(block, known, f"{path}.ipBlock", errors)
        if selectors:
            errors.append(forbidden(path, "may not specify both ipBlock and another peer"))
    elif not selectors:
        errors.append(required(path, "must specify a peer"))


def _check_block(block: Json, known: list[str], path: str, errors: Errors) -> None:
    cidr = block.get("cidr")
    if not cidr:
        errors.append(required(f"{path}.cidr"))
        return
    check_cidr(cidr, f"{path}.cidr", errors, known)
    network = parse_cidr(cidr)
    if network is None:
        return
    for index, value in enumerate(block.get("except") or ()):
        at = f"{path}.except[{index}]"
        check_cidr(value, at, errors, known)
        hole = parse_cidr(value)
        if hole is not None and not _strictly_within(hole, network):
            errors.append(invalid(at, value, "must be a strict subset of `cidr`"))


def _strictly_within(hole: IPv4Network | IPv6Network, network: IPv4Network | IPv6Network) -> bool:
    return hole.version == network.version and hole.prefixlen > network.prefixlen and hole.network_address in network


RULES = {
    "IPAddress": Rules(check_ip_address, check_ip_address_update, name=address_name),
    "Ingress": Rules(check_ingress, check_ingress_update, {"status": check_ingress_status}),
    "IngressClass": Rules(check_ingress_class, check_ingress_class_update),
    "NetworkPolicy": Rules(check_network_policy, check_network_policy_update),
    "ServiceCIDR": Rules(check_service_cidr, check_service_cidr_update),
}
