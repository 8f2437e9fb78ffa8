"""The functions that Kubernetes adds to CEL, as one table. Source: upstream apiserver/pkg/cel/library.

Values of Kubernetes' own types (quantities, addresses, …) are messages that hold their text; reading it again is cached.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kobune.api.cel import authorizer, network, versions
from kobune.api.cel.formats import FORMATS, faults
from kobune.api.cel.wording import OUR_MAP_INSERT, RENAMED
from kobune.api.go_regexp import compile_go
from kobune.api.quantity import canonical, parse_quantity

# What expressions call these types; while they are evaluated all are one.
_AUTH = "kubernetes.authorization"
OPAQUE = (
    f"{_AUTH}.Authorizer", f"{_AUTH}.PathCheck", f"{_AUTH}.GroupCheck", f"{_AUTH}.ResourceCheck", f"{_AUTH}.Decision",
    "kubernetes.NamedFormat", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.URL", "net.CIDR", "net.IP",
)  # fmt: skip
VALUE = "kubernetes.Value"
_MAX_INT = 2**63 - 1


class Function(NamedTuple):
    """Types by name: bool, int, double, string, bytes, dyn, list(T), map(T), one of OPAQUE. `overloads`: parameters and result."""

    name: str
    is_member: bool
    overloads: Sequence[tuple[tuple[str, ...], str]]
    run: Callable[..., Any]


def value_file() -> descriptor_pb2.FileDescriptorProto:
    """What declares VALUE."""
    file = descriptor_pb2.FileDescriptorProto(name="kubernetes/value.proto", package="kubernetes", syntax="proto3")
    message = file.message_type.add(name="Value")
    message.field.add(name="text", number=1, type=9, label=1)
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(value_file())
_Value: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(VALUE))


def _checked(read: Callable[[str], object]) -> Callable[[str], Any]:
    def make(text: str) -> Any:
        read(text)
        return _Value(text=text)

    return make


def _reads(read: Callable[..., object]) -> Callable[..., bool]:
    def check(*arguments: Any) -> bool:
        try:
            read(*arguments)
        except ValueError:
            return False
        return True

    return check


@lru_cache(maxsize=1024)
def _number(text: str) -> Fraction:
    return Fraction(parse_quantity(text))


def _quantity(number: Fraction) -> Any:
    # Whole thousandths of thousandths of thousandths: upstream's finest step.
    nanos = -(-number * 10**9 // 1)
    return _Value(text=canonical(f"{int(nanos)}n"))


def _as_integer(value: Any) -> int:
    number = _number(value.text)
    if number.denominator != 1 or abs(number) > _MAX_INT:
        raise ValueError("cannot convert value to integer")
    return int(number)


def _other(value: Any) -> Fraction:
    return Fraction(value) if isinstance(value, int) else _number(value.text)


def _ordered(value: Any) -> Any:
    """What Quantity and Semver are compared by."""
    try:
        return versions.parse_semver(value.text)
    except ValueError:
        return _number(value.text)


def _semver(text: str, normalize: bool = False) -> Any:
    version = versions.parse_semver(text, normalize)
    if not normalize:
        return _Value(text=text)
    return _Value(text=f"{version.major}.{version.minor}.{version.patch}{_suffix(text)}")


def _suffix(text: str) -> str:
    at = min((text.index(mark) for mark in "-+" if mark in text), default=len(text))
    return text[at:]


def _find(text: str, pattern: str) -> str:
    match = compile_go(pattern).search(text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in compile_go(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


def _least(values: list[Any]) -> Any:
    if not values:
        raise ValueError("min called on empty list")
    return min(values)


def _greatest(values: list[Any]) -> Any:
    if not values:
        raise ValueError("max called on empty list")
    return max(values)


def _index(values: Any, item: Any, start: int = 0) -> int:
    """Where a text holds another from a place on, or a list an element; -1 when it does not."""
    if isinstance(values, str):
        if not 0 <= start <= len(values):
            raise ValueError(f"index out of range: {start}")
        return values.find(item, start)
    return values.index(item) if item in values else -1


def _last_index(values: Any, item: Any, end: int | None = None) -> int:
    """The last place where a text, up to a place, holds another, or a list an element; -1 when it does not."""
    if isinstance(values, str):
        if end is not None and not 0 <= end <= len(values):
            raise ValueError(f"index out of range: {end}")
        return values.rfind(item) if end is None else values.rfind(item, 0, end + len(item))
    return next((place for place in range(len(values) - 1, -1, -1) if values[place] == item), -1)


def _with_entries(entries: dict[Any, Any], *more: Any) -> dict[Any, Any]:
    """A map with an entry more, or those of another map. Raises ValueError for a key that it has."""
    added = {more[0]: more[1]} if len(more) == 2 else more[0]
    for key in added:
        if key in entries:
            raise ValueError(f"insert failed: key {key} already exists")
    return {**entries, **added}


def _named(text: str) -> list[Any]:
    return [_Value(text=text)] if text in FORMATS else []


def _format(name: str) -> Function:
    value = _Value(text=name)
    return Function(f"format.{name}", False, (((), _F),), lambda: value)


def _text(read: Callable[[str], Any]) -> Callable[..., Any]:
    return lambda value: read(value.text)


def _masked(value: Any) -> Any:
    return _Value(text=str(network.parse_cidr(value.text)[1]))


def _is_canonical(text: str) -> bool:
    return str(network.parse_ip(text)) == text


def _text_or_value(value: Any) -> str:
    return value if isinstance(value, str) else str(value.text)


_F = "kubernetes.NamedFormat"
_Q, _S, _U, _C, _I = "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.URL", "net.CIDR", "net.IP"
_ORDERED = ("int", "double", "string", "bool", "bytes", "timestamp", "duration")


def _of(name: str, owner: str, result: str, run: Callable[..., Any]) -> Function:
    return Function(name, True, (((owner,), result),), run)


def _step(name: str, owner: str, result: str, run: Callable[..., str], texts: int = 1) -> Function:
    """A step of a check of authorization, that takes so many texts."""
    given = (f"{_AUTH}.{owner}", *(["string"] * texts))
    return Function(name, True, ((given, f"{_AUTH}.{result}"),), lambda one, *more: _Value(text=run(one.text, *more)))


FUNCTIONS: tuple[Function, ...] = (
    # Lists
    Function("isSorted", True, [((f"list({one})",), "bool") for one in _ORDERED], lambda values: values == sorted(values)),
    Function("sum", True, [((f"list({one})",), one) for one in ("int", "double", "duration")], lambda values: sum(values)),
    Function("min", True, [((f"list({one})",), one) for one in _ORDERED], _least),
    Function("max", True, [((f"list({one})",), one) for one in _ORDERED], _greatest),
    Function(
        RENAMED["indexOf"], True,
        ((("string", "string"), "int"), (("string", "string", "int"), "int"), (("list(dyn)", "dyn"), "int")), _index,
    ),
    Function(
        RENAMED["lastIndexOf"], True,
        ((("string", "string"), "int"), (("string", "string", "int"), "int"), (("list(dyn)", "dyn"), "int")), _last_index,
    ),
    # Maps
    Function(
        OUR_MAP_INSERT, False,
        ((("map(dyn)", "dyn", "dyn"), "map(dyn)"), (("map(dyn)", "map(dyn)"), "map(dyn)")), _with_entries,
    ),
    # Authorization
    _step("path", "Authorizer", "PathCheck", authorizer.part("path", required=True)),
    _step("group", "Authorizer", "GroupCheck", authorizer.part("group")),
    _step("serviceAccount", "Authorizer", "Authorizer", authorizer.account, 2),
    _step("requestResource", "Authorizer", "ResourceCheck", authorizer.request_resource, 0),
    _step("resource", "GroupCheck", "ResourceCheck", authorizer.part("resource", required=True)),
    *(_step(name, "ResourceCheck", "ResourceCheck", authorizer.part(name)) for name in ("subresource", "namespace", "name")),
    _step("fieldSelector", "ResourceCheck", "ResourceCheck", authorizer.part("fieldSelector")),
    _step("labelSelector", "ResourceCheck", "ResourceCheck", authorizer.part("labelSelector")),
    Function(
        "check", True, [((f"{_AUTH}.{sort}", "string"), f"{_AUTH}.Decision") for sort in ("PathCheck", "ResourceCheck")],
        lambda asked, verb: _Value(text=authorizer.check(asked.text, verb)),
    ),
    _of("allowed", f"{_AUTH}.Decision", "bool", lambda decision: authorizer.told(decision.text).allowed),
    _of("errored", f"{_AUTH}.Decision", "bool", lambda decision: bool(authorizer.told(decision.text).error)),
    _of("error", f"{_AUTH}.Decision", "string", lambda decision: authorizer.told(decision.text).error),
    _of("reason", f"{_AUTH}.Decision", "string", lambda decision: authorizer.told(decision.text).reason),
    # Patches
    Function(
        "jsonpatch.escapeKey", False, ((("string",), "string"),),
        lambda text: text.replace("~", "~0").replace("/", "~1"),
    ),
    # Regular expressions
    Function("find", True, ((("string", "string"), "string"),), _find),
    Function(
        "findAll", True, ((("string", "string"), "list(string)"), (("string", "string", "int"), "list(string)")), _find_all
    ),
    # URLs
    Function("isURL", False, ((("string",), "bool"),), _reads(network.parse_url)),
    Function("url", False, ((("string",), _U),), _checked(network.parse_url)),
    _of("getScheme", _U, "string", _text(lambda text: network.parse_url(text).scheme)),
    _of("getHost", _U, "string", _text(network.host_of)),
    _of("getHostname", _U, "string", _text(network.hostname_of)),
    _of("getPort", _U, "string", _text(network.port_of)),
    _of("getEscapedPath", _U, "string", _text(network.escaped_path)),
    _of("getQuery", _U, "map(list(string))", _text(network.query_of)),
    # Addresses
    Function("isIP", False, ((("string",), "bool"),), _reads(network.parse_ip)),
    Function("ip", False, ((("string",), _I),), _checked(network.parse_ip)),
    Function("ip.isCanonical", False, ((("string",), "bool"),), _is_canonical),
    _of("family", _I, "int", _text(lambda text: network.parse_ip(text).version)),
    _of("isUnspecified", _I, "bool", _text(lambda text: network.parse_ip(text).is_unspecified)),
    _of("isLoopback", _I, "bool", _text(lambda text: network.parse_ip(text).is_loopback)),
    _of("isLinkLocalMulticast", _I, "bool", _text(network.is_link_local_multicast)),
    _of("isLinkLocalUnicast", _I, "bool", _text(lambda text: network.parse_ip(text).is_link_local)),
    _of("isGlobalUnicast", _I, "bool", _text(network.is_global_unicast)),
    Function("isCIDR", False, ((("string",), "bool"),), _reads(network.parse_cidr)),
    Function("cidr", False, ((("string",), _C),), _checked(network.parse_cidr)),
    Function(
        "containsIP", True, (((_C, _I), "bool"), ((_C, "string"), "bool")),
        lambda cidr, ip: network.contains_ip(cidr.text, _text_or_value(ip)),
    ),
    Function(
        "containsCIDR", True, (((_C, _C), "bool"), ((_C, "string"), "bool")),
        lambda cidr, other: network.contains_cidr(cidr.text, _text_or_value(other)),
    ),
    Function("ip", True, (((_C,), _I),), lambda cidr: _Value(text=str(network.parse_cidr(cidr.text)[0]))),
    _of("masked", _C, _C, _masked),
    _of("prefixLength", _C, "int", _text(lambda text: network.parse_cidr(text)[1].prefixlen)),
    # Formats
    *map(_format, FORMATS),
    Function("format.allNamed", False, ((("string",), f"list({_F})"),), _named),
    Function(
        "formatFaults", True, (((_F, "string"), "list(list(string))"),), lambda named, text: faults(named.text, text)
    ),
    # Quantities and versions
    Function("isQuantity", False, ((("string",), "bool"),), _reads(parse_quantity)),
    Function("quantity", False, ((("string",), _Q),), lambda text: _Value(text=canonical(text))),
    _of("sign", _Q, "int", _text(lambda text: versions.compare(_number(text), 0))),
    _of("isInteger", _Q, "bool", _reads(_as_integer)),
    _of("asInteger", _Q, "int", _as_integer),
    _of("asApproximateFloat", _Q, "double", _text(lambda text: float(_number(text)))),
    Function("add", True, (((_Q, _Q), _Q), ((_Q, "int"), _Q)), lambda one, two: _quantity(_number(one.text) + _other(two))),
    Function("sub", True, (((_Q, _Q), _Q), ((_Q, "int"), _Q)), lambda one, two: _quantity(_number(one.text) - _other(two))),
    Function("isSemver", False, ((("string",), "bool"), (("string", "bool"), "bool")), _reads(versions.parse_semver)),
    Function("semver", False, ((("string",), _S), (("string", "bool"), _S)), _semver),
    _of("major", _S, "int", _text(lambda text: versions.parse_semver(text).major)),
    _of("minor", _S, "int", _text(lambda text: versions.parse_semver(text).minor)),
    _of("patch", _S, "int", _text(lambda text: versions.parse_semver(text).patch)),
    Function(
        "isLessThan", True, (((_Q, _Q), "bool"), ((_S, _S), "bool")), lambda one, two: _ordered(one) < _ordered(two)
    ),
    Function(
        "isGreaterThan", True, (((_Q, _Q), "bool"), ((_S, _S), "bool")), lambda one, two: _ordered(one) > _ordered(two)
    ),
    Function(
        "compareTo", True, (((_Q, _Q), "int"), ((_S, _S), "int")),
        lambda one, two: versions.compare(_ordered(one), _ordered(two)),
    ),
)  # fmt: skip


def quantity_value(text: str) -> Any:
    """A quantity that an expression is given."""
    return _Value(text=canonical(text))


def version_value(text: str) -> Any:
    """A semantic version that an expression is given."""
    return _Value(text=text)


def authorizer_value() -> Any:
    """What `authorizer` is at the beginning of an expression."""
    return _Value(text=authorizer.BEGINNING)
