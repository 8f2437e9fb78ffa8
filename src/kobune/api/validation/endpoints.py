"""Endpoints, the older form of EndpointSlices."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import required
from kobune.api.validation.addresses import check_endpoint_ip, check_ip
from kobune.api.validation.checks import Errors, check_name, check_one_of, check_port
from kobune.api.validation.containers import PROTOCOLS


def check_endpoints(endpoints: Json, errors: Errors, old: Json | None = None) -> None:
    if old is not None and (old.get("subsets") or []) == (endpoints.get("subsets") or []):
        return
    for index, subset in enumerate(endpoints.get("subsets") or ()):
        path = f"subsets[{index}]"
        addresses, unready = subset.get("addresses") or (), subset.get("notReadyAddresses") or ()
        if not addresses and not unready:
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field, entries in (("addresses", addresses), ("notReadyAddresses", unready)):
            for position, entry in enumerate(entries):
                _check_endpoint_address(entry, f"{path}.{field}[{position}]", errors)
        ports = subset.get("ports") or ()
        for position, port in enumerate(ports):
            _check_endpoint_port(port, f"{path}.ports[{position}]", errors, named=len(ports) > 1)


def check_endpoints_update(new: Json, old: Json, errors: Errors) -> None:
    check_endpoints(new, errors, old)


def _check_endpoint_address(address: Json, path: str, errors: Errors) -> None:
    ip = address.get("ip") or ""
    check_ip(ip, f"{path}.ip", errors)
    if address.get("hostname"):
        check_name(names.is_dns1123_label, address["hostname"], f"{path}.hostname", errors)
    if address.get("nodeName") is not None:
        check_name(names.is_dns1123_subdomain, address["nodeName"], f"{path}.nodeName", errors)
    check_endpoint_ip(ip, f"{path}.ip", errors)


def _check_endpoint_port(port: Json, path: str, errors: Errors, *, named: bool) -> None:
    if port.get("name"):
        check_name(names.is_dns1123_label, port["name"], f"{path}.name", errors)
    elif named:
        errors.append(required(f"{path}.name"))
    check_port(port.get("port"), f"{path}.port", errors)
    check_one_of(port.get("protocol"), PROTOCOLS, f"{path}.protocol", errors)
    if port.get("appProtocol") is not None:
        check_name(names.is_qualified_name, port["appProtocol"], f"{path}.appProtocol", errors)
