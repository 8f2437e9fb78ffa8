"""The forms of names, keys and values. Each check returns what is wrong, in upstream's words; an empty list is a pass.

Source: upstream apimachinery/pkg/util/validation and pkg/api/validate/content; the texts are part of the API.
"""

import re
from collections.abc import Callable

Check = Callable[[str], list[str]]

LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
UNDERSCORE_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
UNDERSCORE_SUBDOMAIN = rf"{UNDERSCORE_LABEL}(\.{UNDERSCORE_LABEL})*"
LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
WILDCARD = rf"\*\.{SUBDOMAIN}"
KEY_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
VALUE = f"({KEY_NAME})?"
PERCENT = "[0-9]+%"
HEADER = "[-A-Za-z0-9]+"
CONFIG_KEY = "[-._a-zA-Z0-9]+"
C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

MAX_LABEL = 63
MAX_SUBDOMAIN = 253

_label = re.compile(LABEL).fullmatch
_subdomain = re.compile(SUBDOMAIN).fullmatch
_underscore_subdomain = re.compile(UNDERSCORE_SUBDOMAIN).fullmatch
_label_1035 = re.compile(LABEL_1035).fullmatch
_wildcard = re.compile(WILDCARD).fullmatch
_key_name = re.compile(KEY_NAME).fullmatch
_value = re.compile(VALUE).fullmatch
_percent = re.compile(PERCENT).fullmatch
_header = re.compile(HEADER).fullmatch
_config_key = re.compile(CONFIG_KEY).fullmatch
_c_identifier = re.compile(C_IDENTIFIER).fullmatch
_http_path = re.compile(HTTP_PATH).fullmatch
_port_name = re.compile(r"(?!-)(?!.*--)(?=[^a-z]*[a-z])[-a-z0-9]{1,15}(?<!-)").fullmatch


def too_long(limit: int, unit: str = "characters") -> str:
    return f"must be no more than {limit} {unit}"


def in_range(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def regex_text(message: str, form: str, *examples: str) -> str:
    """The message with its examples and the expression, as upstream puts them together."""
    if not examples:
        return f"{message} (regex used for validation is '{form}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{form}')"


NOT_A_LABEL = regex_text(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-',"
    " and must start and end with an alphanumeric character",
    LABEL,
    "my-name",
    "123-abc",
)
NOT_A_SUBDOMAIN = regex_text(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
    " and must start and end with an alphanumeric character",
    SUBDOMAIN,
    "example.com",
)
NOT_AN_UNDERSCORE_SUBDOMAIN = regex_text(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.',"
    " and must start and end with an alphanumeric character",
    UNDERSCORE_SUBDOMAIN,
    "example.com",
)
NOT_A_1035_LABEL = regex_text(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-',"
    " start with an alphabetic character, and end with an alphanumeric character",
    LABEL_1035,
    "my-name",
    "abc-123",
)
NOT_A_WILDCARD = regex_text(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain,"
    " which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    WILDCARD,
    "*.example.com",
)
NOT_A_KEY_NAME = regex_text(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    KEY_NAME,
    "MyName",
    "my.name",
    "123-abc",
)
NOT_A_LABEL_VALUE = regex_text(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.',"
    " and must start and end with an alphanumeric character",
    VALUE,
    "MyValue",
    "my_value",
    "12345",
)
NOT_A_CONFIG_KEY = regex_text(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    CONFIG_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)


def is_dns1123_label(value: str) -> list[str]:
    """Names of pods' containers, namespaces, volumes: `my-name`, at most 63 characters."""
    if len(value) <= MAX_LABEL and _label(value):
        return []
    errors = [too_long(MAX_LABEL)] if len(value) > MAX_LABEL else []
    if not _label(value):
        errors.append("must not contain dots" if _subdomain(value) else NOT_A_LABEL)
    return errors


def is_dns1123_subdomain(value: str) -> list[str]:
    """Names of most objects: `my-name.example.com`, at most 253 characters."""
    return _bounded(value, _subdomain(value) is not None, NOT_A_SUBDOMAIN)


def is_dns1123_subdomain_with_underscore(value: str) -> list[str]:
    """DNS search domains: labels may begin with an underscore."""
    return _bounded(value, _underscore_subdomain(value) is not None, NOT_AN_UNDERSCORE_SUBDOMAIN)


def is_dns1035_label(value: str) -> list[str]:
    """Names that begin with a letter: `my-name`, at most 63 characters."""
    errors = [too_long(MAX_LABEL)] if len(value) > MAX_LABEL else []
    return errors if _label_1035(value) else [*errors, NOT_A_1035_LABEL]


def is_wildcard_dns1123_subdomain(value: str) -> list[str]:
    """Hosts of an Ingress: `*.example.com`."""
    return _bounded(value, _wildcard(value) is not None, NOT_A_WILDCARD)


def is_qualified_name(value: str) -> list[str]:
    """Keys of labels, taints and finalizers: a name, before it perhaps a subdomain and a slash."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return [
            f"a valid label key {NOT_A_KEY_NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    errors = []
    if slash:
        if not prefix:
            errors.append("prefix part must be non-empty")
        else:
            if len(prefix) > MAX_SUBDOMAIN:
                errors.append(f"prefix part {too_long(MAX_SUBDOMAIN, 'bytes')}")
            if not _subdomain(prefix):
                errors.append(f"prefix part {NOT_A_SUBDOMAIN}")
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > MAX_LABEL:
        errors.append(f"name part {too_long(MAX_LABEL, 'bytes')}")
    if not _key_name(name):
        errors.append(f"name part {NOT_A_KEY_NAME}")
    return errors


def is_label_value(value: str) -> list[str]:
    """Values of labels: empty, or at most 63 of letters, digits, `-`, `_` and `.`."""
    errors = [too_long(MAX_LABEL, "bytes")] if len(value) > MAX_LABEL else []
    return errors if _value(value) else [*errors, NOT_A_LABEL_VALUE]


def is_path_segment_name(value: str) -> list[str]:
    """Names of RBAC objects and the like: whatever may stand between two slashes of a URL."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return is_path_segment_prefix(value)


def is_path_segment_prefix(value: str) -> list[str]:
    """The beginning of such a name, as in generateName."""
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def is_config_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets: file names."""
    errors = _bounded(value, _config_key(value) is not None, NOT_A_CONFIG_KEY)
    return errors + _parent_directory(value)


def is_env_name(value: str) -> list[str]:
    """Names of environment variables: printable ASCII without `=`."""
    errors = [] if value else ["environment variable name must be non-empty"]
    if any(not " " <= char <= "~" or char == "=" for char in value):
        errors.append(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
    return errors


def is_c_identifier(value: str) -> list[str]:
    if _c_identifier(value):
        return []
    message = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'"
    return [regex_text(message, C_IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def is_port_name(value: str) -> list[str]:
    """IANA service names: at most 15 of `-a-z0-9`, a letter among them, hyphens only single and inside."""
    if _port_name(value):
        return []
    checks = (
        (len(value) > 15, too_long(15)),
        (
            not re.fullmatch("[-a-z0-9]+", value),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (not re.search("[a-z]", value), "must contain at least one letter (a-z)"),
        ("--" in value, "must not contain consecutive hyphens"),
        (value[:1] == "-" or value[-1:] == "-", "must not begin or end with a hyphen"),
    )
    return [message for failed, message in checks if failed]


def is_port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [in_range(1, 65535)]


def is_percent(value: str) -> list[str]:
    if _percent(value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_text(message, PERCENT, "1%", "93%")]


def is_http_header_name(value: str) -> list[str]:
    if _header(value):
        return []
    return [regex_text("a valid HTTP header must consist of alphanumeric characters or '-'", HEADER, "X-Header-Name")]


def is_http_path(value: str) -> bool:
    """Only characters that a URL path may hold."""
    return _http_path(value) is not None


def generate_prefix(check: Check) -> Check:
    """The check for generateName: a trailing dash does not count, since a suffix follows."""

    def check_prefix(value: str) -> list[str]:
        # Upstream masks the dash by a letter, so that "a-" is judged as "aa".
        return check(value[:-2] + "a" if len(value) > 1 and value.endswith("-") else value)

    return check_prefix


def _bounded(value: str, matches: bool, message: str) -> list[str]:
    errors = [too_long(MAX_SUBDOMAIN)] if len(value) > MAX_SUBDOMAIN else []
    return errors if matches else [*errors, message]


def _parent_directory(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []
