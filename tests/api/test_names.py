import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api import names

SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end"
    " with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@pytest.mark.parametrize("check, good, bad", [
    (names.is_dns1123_label, ["a", "0a", "a-b", "a" * 63], ["", "-a", "a-", "A", "a.b", "a" * 64, "a\n"]),
    (names.is_dns1123_subdomain, ["a", "a.b-c.d", "a" * 253], ["", ".a", "a..b", "A", "a" * 254, "a.b\n"]),
    (names.is_dns1035_label, ["a", "a0", "a-b"], ["", "0a", "a.b", "a-"]),
    (names.is_wildcard_dns1123_subdomain, ["*.a.b"], ["*", "a.b", "*.*.b"]),
    (names.is_qualified_name, ["a", "A.b_c-d", "example.com/A", "a" * 63], ["", "/a", "a/", "a/b/c", "-a", "E.com/a", "a" * 64]),
    (names.is_label_value, ["", "A.b_c-d", "1"], ["-", "a b", "a" * 64, "a\n"]),
    (names.is_path_segment_name, ["A:b", "system:x", ""], [".", "..", "a/b", "a%b"]),
    (names.is_config_key, ["a", ".a", "A_b-c.d"], ["", ".", "..", "..a", "a/b", "a" * 254]),
    (names.is_env_name, ["A", "a.b", "1", "a b"], ["", "a=b", "ä", "a\tb"]),
    (names.is_c_identifier, ["_a", "A1"], ["", "1a", "a-b"]),
    (names.is_port_name, ["http", "a-1"], ["", "1", "a--b", "-a", "a-", "A", "a" * 16]),
    (names.is_percent, ["1%", "100%"], ["", "%", "1", "-1%"]),
    (names.is_http_header_name, ["X-A"], ["", "a b"]),
])  # fmt: skip
def test_forms(check, good, bad):
    assert [value for value in good if check(value)] == []
    assert [value for value in bad if not check(value)] == []


def test_messages_are_upstreams():
    assert names.is_dns1123_subdomain("A") == [SUBDOMAIN_TEXT]
    assert names.is_dns1123_label("a.b") == ["must not contain dots"]
    assert names.is_dns1123_label("a" * 64) == ["must be no more than 63 characters"]
    assert names.is_label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert names.is_qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.is_port_name("a--b-") == [
        "must not contain consecutive hyphens",
        "must not begin or end with a hyphen",
    ]
    assert names.is_port_number(0) == ["must be between 1 and 65535, inclusive"]
    assert names.is_path_segment_name("..") == ["may not be '..'"]


def test_a_prefix_may_end_with_a_dash():
    check = names.generate_prefix(names.is_dns1123_label)
    assert check("web-") == []
    assert check("web-") == check("web")
    assert check("-") != []


@given(st.text(max_size=70))
def test_labels_are_subdomains_without_dots(text):
    is_label = not names.is_dns1123_label(text)
    assert is_label == (not names.is_dns1123_subdomain(text) and "." not in text and len(text) <= 63)


@given(st.text(st.characters(codec="ascii"), max_size=20))
def test_a_port_name_is_refused_exactly_for_a_stated_reason(text):
    fine = 0 < len(text) <= 15 and set(text) <= set("-abcdefghijklmnopqrstuvwxyz0123456789")
    fine = fine and any(char.isalpha() for char in text) and "--" not in text and text.strip("-") == text
    assert (names.is_port_name(text) == []) == fine
