"""EndpointSlices."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, invalid, not_supported, required, too_many
from kobune.api.names import Check
from kobune.api.validation.addresses import check_canonical_ip, check_endpoint_ip, check_ip, is_ipv6
from kobune.api.validation.checks import Errors, check_immutable, check_name, check_one_of, same
from kobune.api.validation.containers import PROTOCOLS
from kobune.api.validation.kinds import Rules
from kobune.api.validation.metadata import check_labels

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS, MAX_ADDRESSES, MAX_PORTS, MAX_TOPOLOGY, MAX_HINTS = 1000, 100, 20000, 16, 8


def check_endpoint_slice(endpoint_slice: Json, errors: Errors) -> None:
    kind = endpoint_slice.get("addressType") or ""
    check_one_of(kind, ADDRESS_TYPES, "addressType", errors)
    _check_ports(endpoint_slice.get("ports") or [], errors)
    _check_endpoints(endpoint_slice.get("endpoints") or [], kind, errors)


def check_endpoint_slice_update(new: Json, old: Json, errors: Errors) -> None:
    kind = new.get("addressType") or ""
    check_one_of(kind, ADDRESS_TYPES, "addressType", errors)
    _check_ports(new.get("ports") or [], errors)
    # What is there already may have been written under older rules.
    if not same(new.get("endpoints"), old.get("endpoints")):
        _check_endpoints(new.get("endpoints") or [], kind, errors)
    check_immutable(new, old, "addressType", "addressType", errors)


def _check_ports(ports: list[Json], errors: Errors) -> None:
    if len(ports) > MAX_PORTS:
        errors.append(too_many("ports", len(ports), MAX_PORTS))
        return
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"ports[{index}]", port.get("name") or ""
        if name:
            check_name(names.is_dns1123_label, name, f"{at}.name", errors)
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        seen.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            errors.append(required(f"{at}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(not_supported(f"{at}.protocol", protocol, PROTOCOLS))
        if port.get("appProtocol") is not None:
            check_name(names.is_qualified_name, port["appProtocol"], f"{at}.appProtocol", errors)


def _check_endpoints(endpoints: list[Json], kind: str, errors: Errors) -> None:
    if len(endpoints) > MAX_ENDPOINTS:
        errors.append(too_many("endpoints", len(endpoints), MAX_ENDPOINTS))
        return
    for index, endpoint in enumerate(endpoints):
        path = f"endpoints[{index}]"
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            errors.append(required(f"{path}.addresses", "must contain at least 1 address"))
        elif len(addresses) > MAX_ADDRESSES:
            errors.append(too_many(f"{path}.addresses", len(addresses), MAX_ADDRESSES))
        for position, address in enumerate(addresses):
            _check_address(address, kind, f"{path}.addresses", position, errors)
        if endpoint.get("nodeName") is not None:
            check_name(names.is_dns1123_subdomain, endpoint["nodeName"], f"{path}.nodeName", errors)
        topology = endpoint.get("deprecatedTopology") or {}
        if len(topology) > MAX_TOPOLOGY:
            errors.append(too_many(f"{path}.deprecatedTopology", len(topology), MAX_TOPOLOGY))
        check_labels(topology, f"{path}.deprecatedTopology", errors)
        if endpoint.get("hostname") is not None:
            check_name(names.is_dns1123_label, endpoint["hostname"], f"{path}.hostname", errors)
        if endpoint.get("hints") is not None:
            for field, check in (("forZones", names.is_label_value), ("forNodes", names.is_dns1123_subdomain)):
                _check_hints(endpoint["hints"].get(field) or [], check, f"{path}.hints.{field}", errors)


def _check_address(address: str, kind: str, path: str, position: int, errors: Errors) -> None:
    at, count = f"{path}[{position}]", len(errors)
    if kind == "FQDN":
        _check_domain(address, at, errors)
    elif kind in ("IPv4", "IPv6"):
        (check_ip if kind == "IPv4" else check_canonical_ip)(address, at, errors)
        if len(errors) == count:
            if is_ipv6(address) is not (kind == "IPv6"):
                errors.append(invalid(path, address, f"must be an {kind} address"))
            check_endpoint_ip(address, at, errors)


def _check_domain(name: str, path: str, errors: Errors) -> None:
    if not name:
        errors.append(required(path))
        return
    name = name.removesuffix(".")
    if wrong := names.is_dns1123_subdomain(name):
        errors.append(invalid(path, name, ",".join(wrong)))
    elif "." not in name:
        errors.append(invalid(path, name, "should be a domain with at least two segments separated by dots"))
    else:
        for label in name.split("."):
            if wrong := names.is_dns1123_label(label):
                errors.append(invalid(path, label, ",".join(wrong)))


def _check_hints(hints: list[Json], check: Check, path: str, errors: Errors) -> None:
    if len(hints) > MAX_HINTS:
        errors.append(too_many(path, len(hints), MAX_HINTS))
        return
    seen: set[str] = set()
    for index, hint in enumerate(hints):
        at, name = f"{path}[{index}].name", hint.get("name") or ""
        if name in seen:
            errors.append(duplicate(at, name))
        seen.add(name)
        check_name(check, name, at, errors)


RULES = {"EndpointSlice": Rules(check_endpoint_slice, check_endpoint_slice_update)}
