"""How long ago something was, in the few characters a column has for it. Source: upstream duration.HumanDuration."""

from datetime import datetime

from kobune.api.timestamps import parse_time

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 86400 * 365


def human_duration(seconds: float) -> str:
    """Two or three significant figures: `45s`, `3m20s`, `25m`, `7h5m`, `31h`, `5d3h`, `90d`, `2y90d`, `9y`.

    A duration that is negative by less than two seconds is taken for a difference between clocks.
    """
    whole = int(seconds)  # Toward zero, as Go converts.
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    if whole < 8 * _YEAR:
        return _two(whole, _YEAR, "y", _DAY, "d")
    return f"{whole // _YEAR}y"


def since(timestamp: str | None, now: datetime) -> str:
    """The time from a timestamp on the wire to `now`; `<unknown>` when there is none."""
    if not timestamp:
        return "<unknown>"
    return human_duration((now - parse_time(timestamp)).total_seconds())


def _two(seconds: int, unit: int, name: str, smaller: int, smaller_name: str) -> str:
    rest = seconds % unit // smaller
    return f"{seconds // unit}{name}{rest}{smaller_name}" if rest else f"{seconds // unit}{name}"
