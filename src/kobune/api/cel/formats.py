"""`format.NAME().validate(text)` and `format.named(name)`. Source: upstream apiserver/pkg/cel/library/format.go.

Both give optionals, which functions of the engine cannot. They give lists of none or one instead, of which
expressions are made to take the first; see `wording`.
"""

from collections.abc import Callable

from kobune.api import names
from kobune.api.formats import is_of_format


def faults(name: str, text: str) -> list[list[str]]:
    """What is wrong with a text of that format, as the one element of a list; nothing when it is right."""
    wrong = FORMATS[name](text)
    return [wrong] if wrong else []


def _of(name: str, complaint: str) -> Callable[[str], list[str]]:
    return lambda text: [] if is_of_format(name, text) else [complaint]


FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.is_dns1123_label,
    "dns1123Subdomain": names.is_dns1123_subdomain,
    "dns1035Label": names.is_dns1035_label,
    "qualifiedName": names.is_qualified_name,
    "dns1123LabelPrefix": names.generate_prefix(names.is_dns1123_label),
    "dns1123SubdomainPrefix": names.generate_prefix(names.is_dns1123_subdomain),
    "dns1035LabelPrefix": names.generate_prefix(names.is_dns1035_label),
    "labelValue": names.is_label_value,
    "uri": _of("uri", "invalid URI"),
    "uuid": _of("uuid", "does not match the UUID format"),
    "byte": _of("byte", "invalid base64"),
    "date": _of("date", "invalid date"),
    "datetime": _of("datetime", "invalid datetime"),
}
