from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.quantity import canonical, cpu_millicores, format_binary, parse_quantity, rounded_to_milli, to_bytes


@pytest.mark.parametrize("text, amount", [
    ("0", 0), ("12", 12), ("-3", -3), ("+3", 3), ("1.5", Fraction(3, 2)), (".5", Fraction(1, 2)), ("5.", 5),
    ("1n", Fraction(1, 10**9)), ("1u", Fraction(1, 10**6)), ("250m", Fraction(1, 4)), ("2k", 2000), ("3M", 3 * 10**6),
    ("1G", 10**9), ("1T", 10**12), ("1P", 10**15), ("1E", 10**18), ("1Ki", 1024), ("1.5Gi", 3 * 2**29),
    ("1Ti", 2**40), ("1Pi", 2**50), ("1Ei", 2**60), ("1e3", 1000), ("1E3", 1000), ("1e-3", Fraction(1, 1000)),
    ("0.1n", Fraction(1, 10**9)), ("-0.1n", Fraction(-1, 10**9)), ("100Ei", 2**63 - 1),
])  # fmt: skip
def test_amounts_are_exact(text, amount):
    assert parse_quantity(text) == amount


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "1.2.3", "1Gi ", "1x", "Gi1x"])
def test_what_is_no_quantity_is_refused_in_upstreams_words(text):
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1KK", "--1", "1mm", "1iK", "1e", "1K", "1e999999999"])
def test_an_unknown_suffix_is_refused(text):
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        parse_quantity(text)


@pytest.mark.parametrize("text, expected", [
    ("1000m", "1"), ("1500m", "1500m"), ("1.5", "1500m"), ("0.5", "500m"), ("1024Ki", "1Mi"), ("1.5Gi", "1536Mi"),
    ("1024", "1024"), ("1000", "1k"), ("1e3", "1e3"), ("1000e3", "1e6"), ("0.5Ki", "512"), ("512Ki", "512Ki"),
    ("100", "100"), ("0Gi", "0"), ("-0", "0"), ("1000k", "1M"), ("123456789", "123456789"), ("0.1m", "100u"),
    ("3000Mi", "3000Mi"), ("8Ki", "8Ki"), (0.5, "500m"), (2, "2"), ("1.234", "1.234"),
])  # fmt: skip
def test_canonical_form_keeps_the_family_and_loses_nothing(text, expected):
    assert canonical(text) == expected


def test_cpu_and_bytes_round_up():
    assert cpu_millicores("0.1m") == 1
    assert cpu_millicores("1500m") == cpu_millicores(1.5) == 1500
    assert to_bytes("100m") == 1
    assert to_bytes("1Mi") == 2**20
    assert cpu_millicores("-1.5m") == -1


def test_resource_lists_are_kept_to_a_thousandth():
    assert rounded_to_milli("100u") == "1m"
    assert rounded_to_milli("1.0005") == "1001m"
    assert rounded_to_milli("1Gi") == "1Gi"


quantities = st.builds(
    lambda sign, number, suffix: f"{sign}{number}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,6})?", fullmatch=True),
    st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "e3", "E-2", "e+4"]),
)


@given(quantities)
def test_canonical_form_means_the_same_and_is_stable(text):
    once = canonical(text)
    assert parse_quantity(once) == parse_quantity(text)
    assert canonical(once) == once


@given(st.integers(-(2**62), 2**62))
def test_binary_form_round_trips(amount):
    assert parse_quantity(format_binary(amount)) == amount


@given(quantities)
def test_rounding_up_is_never_less(text):
    assert Fraction(cpu_millicores(text), 1000) >= parse_quantity(text)
    assert to_bytes(text) - parse_quantity(text) < 1
