"""Times as the API writes them: RFC 3339 in UTC, to the second (`Time`) or to the microsecond (`MicroTime`)."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

LAYOUT = "2006-01-02T15:04:05Z07:00"  # How upstream names the form in its errors.
MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"

_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_PARTS = (  # What must stand next, and the part of the layout that says so.
    (r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
    (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d", "05"),
    (r"([.,]\d+)?(Z|[+-]\d\d:\d\d)", "Z07:00"),
)  # fmt: skip


def format_time(moment: datetime) -> str:
    """`2026-01-02T03:04:05Z`; a fraction of a second is dropped."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return _written(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)


@lru_cache(maxsize=256)  # All that is written within a second has the same moment.
def _written(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def format_micro(moment: datetime) -> str:
    """`2026-01-02T03:04:05.000006Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def parse_time(text: str, layout: str = LAYOUT) -> datetime:
    """The moment, in UTC.

    Raises:
        ValueError: not an RFC 3339 time; the message is upstream's.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(_complaint(text, layout))
    fraction = match[1]
    try:
        moment = datetime.fromisoformat(text.replace(fraction, f".{fraction[1:7]:0<6}") if fraction else text)
    except ValueError as error:
        raise ValueError(f'parsing time "{text}": {_out_of_range(text)}') from error
    return moment.astimezone(UTC)


@lru_cache(maxsize=1024)  # One object has the same few times in many places, and so have those written with it.
def canonical_time(text: str) -> str:
    """A `Time` as upstream writes it back.

    Raises:
        ValueError: not a time.
    """
    if len(text) == 20 and text[19] == "Z":
        parse_time(text)
        return text
    return format_time(parse_time(text))


def canonical_micro(text: str) -> str:
    """A `MicroTime` as upstream writes it back.

    Raises:
        ValueError: not a time.
    """
    moment = parse_time(text, MICRO_LAYOUT)
    return text if len(text) == 27 and text[19] == "." and text[26] == "Z" else format_micro(moment)


def _complaint(text: str, layout: str) -> str:
    rest = text
    for pattern, part in _PARTS:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"'
        rest = rest[match.end() :]
    return f'parsing time "{text}": extra text: "{rest}"'


def _out_of_range(text: str) -> str:
    month, day, hour, minute = (int(text[at : at + 2]) for at in (5, 8, 11, 14))
    checks = (("month", 1 <= month <= 12), ("day", 1 <= day <= 28), ("hour", hour < 24), ("minute", minute < 60))
    return f"{next((name for name, ok in checks if not ok), 'second')} out of range"


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 2**63 / 1e9  # Seconds: Go counts nanoseconds in 64 bits.


def parse_duration(text: str) -> timedelta:
    """A duration as Go writes it: `1h2m3.5s`, `0s`. Raises ValueError."""
    digits = text.lstrip("+-")
    parts = _DURATION.findall(digits)
    if "".join(number + unit for number, unit in parts) != digits or not parts:
        if digits == "0":
            return timedelta()
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total >= _LONGEST:
        raise ValueError(f'time: invalid duration "{text}"')
    return timedelta(seconds=-total if text.startswith("-") else total)
