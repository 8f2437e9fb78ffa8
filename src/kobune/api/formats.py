"""The formats of strings that custom schemas may ask for; others are not checked.

Source: upstream apiextensions-apiserver, validation/formats.go, and kube-openapi's strfmt.
"""

import binascii
import re
from collections.abc import Callable
from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from kobune.api import names
from kobune.api.timestamps import parse_time

_HEX = "[0-9a-fA-F]"
_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
# As Scala writes durations; upstream takes these too.
_LONG_DURATION = re.compile(
    r"\d+\s*(?:ns|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|seconds?|m|minutes?|h|hours?"
    r"|d|days?|w|weeks?)"
)
_PATTERNS = {
    "bsonobjectid": rf"{_HEX}{{24}}",
    "hostname": r"(?=.{1,255}$)[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*\.?",
    "email": r"(?:[^<>]*<)?[^@\s<>]+@[^@\s<>]+>?",
    "mac": rf"{_HEX}{{2}}(?:[:-]{_HEX}{{2}}){{5}}(?:(?:[:-]{_HEX}{{2}}){{2}})?|{_HEX}{{4}}(?:\.{_HEX}{{4}}){{2,3}}",
    "uuid": rf"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}",
    "uuid3": rf"{_HEX}{{8}}-?{_HEX}{{4}}-?3{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}",
    "uuid4": rf"{_HEX}{{8}}-?{_HEX}{{4}}-?4{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}",
    "uuid5": rf"{_HEX}{{8}}-?{_HEX}{{4}}-?5{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}",
    "ssn": r"\d{3}[- ]?\d{2}[- ]?\d{4}",
    "hexcolor": rf"#?(?:{_HEX}{{3}}|{_HEX}{{6}})",
    "rgbcolor": r"rgb\(\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*(?:,\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*){2}\)",
}


def is_of_format(name: str, text: str) -> bool:
    """Whether `text` has a format; dashes in its name do not count ("date-time" is "datetime")."""
    check = _CHECKS.get(name.replace("-", ""))
    return check is None or check(text)


def _reads(read: Callable[[str], object]) -> Callable[[str], bool]:
    """Whether a function takes the text."""

    def check(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return check


def _matches(pattern: str) -> Callable[[str], bool]:
    matches = re.compile(pattern, re.ASCII).fullmatch
    return lambda text: matches(text) is not None


def _cidr(text: str) -> object:
    address, slash, length = text.partition("/")
    if not slash or not length.isdecimal():
        raise ValueError("no prefix length")
    return ip_address(address), ip_network(text, strict=False)


def _date(text: str) -> object:
    if len(text) != 10:
        raise ValueError("not YYYY-MM-DD")
    return date.fromisoformat(text)


def _is_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(text) and not any(char.isspace() for char in text) and (bool(parts.scheme) or text.startswith("/"))


def _is_duration(text: str) -> bool:
    return _DURATION.fullmatch(text) is not None or _LONG_DURATION.fullmatch(text.strip()) is not None


_CHECKS: dict[str, Callable[[str], bool]] = {
    **{name: _matches(pattern) for name, pattern in _PATTERNS.items()},
    "byte": _reads(lambda text: binascii.a2b_base64(text, strict_mode=True)),
    "cidr": _reads(_cidr),
    "date": _reads(_date),
    "datetime": _reads(parse_time),
    "duration": _is_duration,
    "ipv4": _reads(IPv4Address),
    "ipv6": _reads(IPv6Address),
    "uri": _is_uri,
    "k8sshortname": lambda text: not names.is_dns1123_label(text),
    "k8slongname": lambda text: not names.is_dns1123_subdomain(text),
}
