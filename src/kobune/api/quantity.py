"""Amounts of resources as the API writes them ("250m", "1.5Gi", "1e3"): parsing, whole units and the canonical form.

Source: Kubernetes API reference, Quantity. Amounts are exact; nothing here is a float.
"""

import re
from fractions import Fraction
from functools import lru_cache

Number = int | Fraction

FORMAT = (
    "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"  # As upstream names it in its error; `_FORM` is what is accepted.
)
WRONG_FORMAT = f"quantities must match the regular expression '{FORMAT}'"
WRONG_SUFFIX = "unable to parse quantity's suffix"

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

_DECIMAL_SUFFIX = {power: suffix for suffix, power in DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in BINARY.items()}
_FORM = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)", re.ASCII)
_LARGEST_BINARY = 2**63 - 1
_LARGEST_EXPONENT = 4096  # Upstream takes any, at a cost that grows with it.
_FAST_DIGITS = 18  # An amount with more digits is always rewritten, as upstream's exact arithmetic does.


def parse_quantity(text: str | int | float) -> Number:
    """The amount, exact: an int where it is whole, else a Fraction. More than nine decimals round away from zero.

    Raises:
        ValueError: not a quantity; the message is upstream's.
    """
    return _parse(text if isinstance(text, str) else str(text))[0]


def cpu_millicores(text: str | int | float) -> int:
    """Thousandths of a core (or of any unit), rounded up."""
    return _ceil(parse_quantity(text), 1000)


def to_bytes(text: str | int | float) -> int:
    """Whole units, rounded up: bytes of memory, numbers of pods."""
    return _ceil(parse_quantity(text), 1)


def canonical(text: str | int | float) -> str:
    """As upstream writes it back: no fraction, the largest suffix of the same family that loses nothing.

    Raises:
        ValueError: not a quantity.
    """
    return _canonical(text if isinstance(text, str) else str(text))


def rounded_to_milli(text: str | int | float) -> str:
    """Canonical, after rounding up to thousandths. Resource lists are kept no finer."""
    return _rounded_to_milli(text if isinstance(text, str) else str(text))


def format_decimal(amount: Number) -> str:
    """Canonical form in powers of a thousand: 1500 is "1500", 2000 is "2k", 1/2 is "500m"."""
    return _decimal(amount, exponent_form=False)


def format_binary(amount: Number) -> str:
    """Canonical form in powers of 1024: 1048576 is "1Mi"; small and fractional amounts are decimal."""
    if isinstance(amount, Fraction) or -1024 < amount < 1024:
        return _decimal(amount, exponent_form=False)
    power = 0
    while amount % 1024 == 0 and power < 60:
        amount //= 1024
        power += 10
    return f"{amount}{_BINARY_SUFFIX.get(power, '')}"


def added(first: str, second: str) -> str:
    """The sum, in the family of units of the first unless that is zero. Source: upstream Quantity.Add."""
    amount, family, _ = _parse(first)
    other, others_family, _ = _parse(second)
    return _written(_whole(amount + other), family if amount else others_family)


def subtracted(first: str, second: str) -> str:
    """The difference, in the family of units of the first unless that is zero. Source: upstream Quantity.Sub."""
    amount, family, _ = _parse(first)
    other, others_family, _ = _parse(second)
    return _written(_whole(amount - other), family if amount else others_family)


def _whole(amount: Number) -> Number:
    return amount.numerator if amount.denominator == 1 else amount


def _ceil(amount: Number, scale: int) -> int:
    return amount * scale if isinstance(amount, int) else -(-amount.numerator * scale // amount.denominator)


@lru_cache(maxsize=16384)
def _parse(text: str) -> tuple[Number, str, bool]:
    """(amount, family "decimal" | "binary" | "exponent", whether the text is kept as it is)."""
    if not text:
        raise ValueError(WRONG_FORMAT)
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(WRONG_FORMAT)
    sign, whole, decimals, suffix = match.groups(default="")
    digits = int((whole or "0") + decimals)
    if sign == "-":
        digits = -digits
    if suffix in BINARY:
        amount = _nano(Fraction(digits * 2 ** BINARY[suffix], 10 ** len(decimals)))
        capped = max(-_LARGEST_BINARY, min(_LARGEST_BINARY, amount))
        short = not decimals and len(whole) + BINARY[suffix] * 3 // 10 < 15
        family = "decimal" if decimals and 0 < amount < 1 else "binary"
        return capped, family, short and digits % 8 != 0
    if suffix in DECIMAL:
        power, family = DECIMAL[suffix], "decimal"
    else:
        exponent = _EXPONENT.fullmatch(suffix)
        if exponent is None or abs(power := int(exponent[1])) > _LARGEST_EXPONENT:
            raise ValueError(WRONG_SUFFIX)
        family = "exponent"
    power -= len(decimals)
    exact = Fraction(digits) * 10**power if power >= 0 else Fraction(digits, 10**-power)
    # Upstream keeps such a text, even where it is not canonical ("1.234", "01").
    kept = (
        len(whole) + len(decimals) <= _FAST_DIGITS
        and power >= -9
        and power % 3 == 0
        and whole != ""
        and not (whole + decimals).endswith("000")
    )
    return _nano(exact), family, kept


def _nano(amount: Fraction) -> Number:
    """Rounded away from zero to nine decimals, the finest that is kept."""
    if amount.denominator == 1:
        return amount.numerator
    scaled = abs(amount) * 10**9
    nanos = -(-scaled.numerator // scaled.denominator)
    result = Fraction(nanos if amount > 0 else -nanos, 10**9)
    return result.numerator if result.denominator == 1 else result


@lru_cache(maxsize=16384)
def _canonical(text: str) -> str:
    amount, family, kept = _parse(text)
    return text if kept else _written(amount, family)


@lru_cache(maxsize=16384)
def _rounded_to_milli(text: str) -> str:
    amount, family, _ = _parse(text)
    if isinstance(amount, int) or 1000 % amount.denominator == 0:
        return _canonical(text)
    sign = 1 if amount > 0 else -1
    amount = Fraction(sign * _ceil(abs(amount), 1000), 1000)
    return _written(amount.numerator if amount.denominator == 1 else amount, family)


def _written(amount: Number, family: str) -> str:
    return format_binary(amount) if family == "binary" else _decimal(amount, exponent_form=family == "exponent")


def _decimal(amount: Number, *, exponent_form: bool) -> str:
    if amount == 0:
        return "0"
    power = 0
    if isinstance(amount, Fraction):
        while amount.denominator != 1:
            amount, power = amount * 1000, power - 3
        amount = amount.numerator
    while amount % 1000 == 0 and (exponent_form or power < 18):
        amount, power = amount // 1000, power + 3
    if exponent_form:
        return f"{amount}e{power}" if power else str(amount)
    return f"{amount}{_DECIMAL_SUFFIX[power]}"
