"""URLs, IP addresses and CIDRs in CEL. Source: upstream apiserver/pkg/cel/library (urls.go, ip.go, cidr.go)."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@lru_cache(maxsize=1024)
def parse_url(text: str) -> SplitResult:
    """An absolute URI or an absolute path. Raises ValueError."""
    parts = urlsplit(text)
    if not text or any(ord(char) <= 0x20 for char in text) or not (parts.scheme or text.startswith("/")):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    _ = parts.port  # Raises for a port that is none.
    return parts


def host_of(text: str) -> str:
    return parse_url(text).netloc.rpartition("@")[2]


def hostname_of(text: str) -> str:
    host = host_of(text)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def port_of(text: str) -> str:
    port = parse_url(text).port
    return "" if port is None else str(port)


def escaped_path(text: str) -> str:
    return quote(parse_url(text).path, safe="/%:@!$&'()*+,;=-._~")


def query_of(text: str) -> dict[str, list[str]]:
    return parse_qs(parse_url(text).query, keep_blank_values=True)


@lru_cache(maxsize=1024)
def parse_ip(text: str) -> Address:
    """Raises ValueError; zones, leading zeros and IPv4-mapped addresses are not taken."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise ValueError(f"IP Address {text!r} parse error during conversion from string: {error}") from error
    if isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address.scope_id):
        raise ValueError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return address


@lru_cache(maxsize=1024)
def parse_cidr(text: str) -> tuple[Address, Network]:
    """The address as written, and the network. Raises ValueError."""
    address, slash, length = text.partition("/")
    try:
        if not slash or not length.isdecimal():
            raise ValueError("no '/'")
        return parse_ip(address), ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"network address parse error during conversion from string: {error}") from error


def contains_ip(cidr: str, ip: str) -> bool:
    address, network = parse_ip(ip), parse_cidr(cidr)[1]
    return address.version == network.version and address in network


def contains_cidr(outer: str, inner: str) -> bool:
    large, small = parse_cidr(outer)[1], parse_cidr(inner)[1]
    if isinstance(large, IPv4Network) and isinstance(small, IPv4Network):
        return small.subnet_of(large)
    return isinstance(large, IPv6Network) and isinstance(small, IPv6Network) and small.subnet_of(large)


def is_global_unicast(ip: str) -> bool:
    address = parse_ip(ip)
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
        or address == IPv4Address("255.255.255.255")
    )  # fmt: skip


def is_link_local_multicast(ip: str) -> bool:
    address = parse_ip(ip)
    if isinstance(address, IPv4Address):
        return address in IPv4Network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2
