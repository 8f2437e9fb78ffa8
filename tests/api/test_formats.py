"""Formats of strings in custom schemas."""

import pytest

from kobune.api.formats import is_of_format


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2026-01-02T03:04:05.5Z", "2026-01-02 03:04"),
        ("date", "2026-01-02", "2026-13-02"),
        ("duration", "1h30m", "soon"),
        ("duration", "22 ns", "22 parsecs"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "fd00::1", "10.0.0.1"),
        ("cidr", "10.0.0.1/16", "10.0.0.1"),
        ("mac", "01:23:45:67:89:ab", "01:23"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("hostname", "a.example", "-a"),
        ("email", "a@b.example", "ab.example"),
        ("uri", "https://a.example/x", "a b"),
        ("byte", "YWJj", "a!"),
        ("hexcolor", "#FFaa00", "#F"),
        ("rgbcolor", "rgb(1, 2, 255)", "rgb(1, 2)"),
        ("k8s-short-name", "web-0", "Web"),
        ("k8s-long-name", "web.example", "web..example"),
    ],
)
def test_a_format_tells_good_from_bad(name, good, bad):
    assert is_of_format(name, good)
    assert not is_of_format(name, bad)


@pytest.mark.parametrize("name", ["password", "int32", "anything"])
def test_formats_that_say_nothing_of_strings_are_not_checked(name):
    assert is_of_format(name, "whatever")
