"""IP addresses and address ranges. Source: upstream util/validation/ip.go, with strict validation on."""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from kobune.api.field_errors import invalid, quote
from kobune.api.validation.checks import Errors

NOT_AN_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PLAIN_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")
_LEADING_ZEROS = re.compile(r"(?<![0-9a-fA-F:])0+(?=[0-9]+(?:[./]|$))")


def check_ip(value: str, path: str, errors: Errors, known: Collection[str] = ()) -> None:
    """An address of an older field; `known` ones are in the old object and stay as they are."""
    if value not in known and (fault := _ip_fault(value)):
        errors.append(invalid(path, value, fault))


def check_canonical_ip(value: str, path: str, errors: Errors) -> None:
    """An address of a newer field, which must be written in its one form."""
    fault = _ip_fault(value)
    if not fault and (canonical := str(ip_address(value))) != value:
        fault = f'must be in canonical form ("{canonical}")'
    if fault:
        errors.append(invalid(path, value, fault))


def check_cidr(value: str, path: str, errors: Errors, known: Collection[str] = ()) -> None:
    if value not in known and (fault := _cidr_fault(value)):
        errors.append(invalid(path, value, fault))


def check_canonical_cidr(value: str, path: str, errors: Errors) -> None:
    fault = _cidr_fault(value)
    if not fault and (canonical := str(ip_network(value, strict=False))) != value:
        fault = f'must be in canonical form ("{canonical}")'
    if fault:
        errors.append(invalid(path, value, fault))


def check_endpoint_ip(value: str, path: str, errors: Errors) -> None:
    """An address that traffic may be sent to: none of the special ranges."""
    ip = parse_ip(value)
    if ip is None:
        errors.append(invalid(path, value, "must be a valid IP address"))
        return
    if ip.is_unspecified:
        errors.append(invalid(path, value, f"may not be unspecified ({value})"))
    if ip.is_loopback:
        errors.append(invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if ip.is_link_local:
        errors.append(invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if _is_link_local_multicast(ip):
        errors.append(invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))


def check_interface_address(value: str, path: str, errors: Errors) -> None:
    """An address with the length of its network's prefix."""
    network, address = parse_cidr(value), parse_ip(value.partition("/")[0])
    if network is None or address is None:
        detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        errors.append(invalid(path, value, detail))
    elif value != (canonical := f"{address}/{network.prefixlen}"):
        errors.append(invalid(path, value, f"must be in canonical form ({quote(canonical)})"))


@lru_cache(maxsize=8192)
def parse_ip(value: str) -> IPv4Address | IPv6Address | None:
    """The address, leading zeros allowed; None if it is none."""
    try:
        return ip_address(_LEADING_ZEROS.sub("", value) if "%" not in value else "")
    except ValueError:
        return None


@lru_cache(maxsize=2048)
def parse_cidr(value: str) -> IPv4Network | IPv6Network | None:
    """The range that an address with a prefix length lies in; None if it is none."""
    if "/" not in value or "%" in value:
        return None
    address, _, length = value.partition("/")
    if not (length.isascii() and length.isdigit()):
        return None
    try:
        return ip_network(f"{_LEADING_ZEROS.sub('', address)}/{int(length)}", strict=False)
    except ValueError:
        return None


def is_ipv6(value: str) -> bool:
    return ":" in value


def is_dual_stack(values: Collection[str]) -> bool:
    """At least one address or range of each family."""
    return len({is_ipv6(value) for value in values}) == 2


def _ip_fault(value: str) -> str:
    if _PLAIN_IPV4.fullmatch(value):  # As nearly all: every pod has one of its own.
        return ""
    ip = parse_ip(value)
    if ip is None:
        return NOT_AN_IP
    if _LEADING_ZEROS.search(value):
        return "must not have leading 0s"
    return "must not be an IPv4-mapped IPv6 address" if getattr(ip, "ipv4_mapped", None) else ""


@lru_cache(maxsize=2048)
def _cidr_fault(value: str) -> str:
    network = parse_cidr(value)
    if network is None:
        return NOT_A_CIDR
    address, _, length = value.partition("/")
    if _LEADING_ZEROS.search(address) or str(int(length)) != length:
        return "must not have leading 0s in IP or prefix length"
    ip = ip_address(address)
    if getattr(ip, "ipv4_mapped", None):
        return "must not have an IPv4-mapped IPv6 address"
    return "must not have bits set beyond the prefix length" if ip != network.network_address else ""


def _is_link_local_multicast(ip: IPv4Address | IPv6Address) -> bool:
    packed = ip.packed
    return packed[:3] == b"\xe0\x00\x00" if len(packed) == 4 else packed[0] == 0xFF and packed[1] & 0x0F == 0x02
