"""`format.NAME().validate(text)`: none, or the list of what is wrong. Source: upstream apiserver/pkg/cel/library/format.go."""

import re
from collections.abc import Callable

from kobune.api import names
from kobune.api.formats import is_of_format

_CALL = re.compile(r"\bformat\.(\w+)\(\)\.validate\(")
_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")


def faults(name: str, text: str) -> list[str]:
    """What is wrong with a text of that format. Raises ValueError for a format that is none."""
    check = _FORMATS.get(name)
    if check is None:
        raise ValueError(f"no such format: {name}")
    return check(text)


def with_formats(expression: str) -> str:
    """The expression with each use of a format as a call that the engine knows: functions here cannot give optionals."""
    while match := _CALL.search(expression):
        end = _end(expression, match.end())
        argument = expression[match.end() : end]
        call = f"optional.ofNonZeroValue(formatFaults('{match[1]}', {argument}))"
        expression = f"{expression[: match.start()]}{call}{expression[end + 1 :]}"
    return expression


def _end(text: str, start: int) -> int:
    """Where the parenthesis that is open at `start` closes; the text's end if it does not."""
    depth, at = 1, start
    while at < len(text):
        if string := _STRING.match(text, at):
            at = string.end()
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
        at += 1
    return at


def _of(name: str, complaint: str) -> Callable[[str], list[str]]:
    return lambda text: [] if is_of_format(name, text) else [complaint]


_FORMATS: dict[str, Callable[[str], list[str]]] = {
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
