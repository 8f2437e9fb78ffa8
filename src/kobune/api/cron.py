"""Cron schedules: what `spec.schedule` of a CronJob means. Source: robfig/cron v3 ParseStandard, errors included."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

MONTHS = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}  # noqa: SIM905
WEEKDAYS = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}  # noqa: SIM905
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
HORIZON_YEARS = 5  # A schedule that does not come up for so long never does: 30 February.

_BOUNDS: tuple[tuple[int, int, Mapping[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, MONTHS),
    (0, 6, WEEKDAYS),
)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to run: minutes, hours, days, months and weekdays; or every so many seconds."""

    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()  # 0 is Sunday.
    any_day: bool = False  # The day of the month, or that of the week, was a star: both must match, not either.
    every_seconds: int = 0
    zone: str = ""  # What a leading `TZ=` named.

    def next_after(self, moment: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first time later than `moment` by the clocks of `zone`, in UTC; None if there is none within years.

        Times that the zone leaps over do not occur; times that it repeats occur twice.
        """
        if self.every_seconds:
            return moment.replace(microsecond=0) + timedelta(seconds=self.every_seconds)
        day = moment.astimezone(zone).date()
        last_year = day.year + HORIZON_YEARS
        while day.year <= last_year:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self._is_on(day) and (found := self._first_on(day, moment, zone)) is not None:
                return found
            day += timedelta(days=1)
        return None

    def _is_on(self, day: date) -> bool:
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date and by_weekday if self.any_day else by_date or by_weekday

    def _first_on(self, day: date, moment: datetime, zone: tzinfo) -> datetime | None:
        best: datetime | None = None
        local = moment.astimezone(zone)
        # On the moment's own day earlier hours are over, but for one that the zone may repeat.
        begin = local.hour - 1 if local.date() == day else 0
        for hour in self.hours:
            if hour < begin:
                continue
            for minute in self.minutes:
                for fold in (0, 1):
                    wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone, fold=fold)
                    found = wall.astimezone(UTC)
                    if found > moment and (best is None or found < best):
                        back = found.astimezone(zone)
                        if (back.hour, back.minute, back.day) == (hour, minute, day.day):
                            best = found
                    if wall.utcoffset() == wall.replace(fold=1 - fold).utcoffset():
                        break  # An ordinary time: it has no second fold.
            if best is not None and best.astimezone(zone).hour < hour:
                return best
        return best


@lru_cache(maxsize=4096)
def parse_schedule(text: str) -> Schedule:
    """The schedule that the text means. Whether a leading `TZ=` is allowed is for the caller to say.

    Raises:
        ValueError: not a schedule; the message is upstream's.
    """
    if not text:
        raise ValueError("empty spec string")
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        named, space, text = text.partition(" ")
        zone = named.partition("=")[2]
        if not space:
            raise ValueError(f"invalid schedule format: provided bad location {zone}")
        text = text.strip()
    if text.startswith("@every "):
        return Schedule(every_seconds=_duration(text, text.removeprefix("@every ")), zone=zone)
    if text.startswith("@"):
        if text not in DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != len(_BOUNDS):
        raise ValueError(f"expected exactly {len(_BOUNDS)} fields, found {len(fields)}: [{' '.join(fields)}]")
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = (
        _field(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)
    )
    any_day = any_day or any_weekday
    return Schedule(tuple(sorted(minutes)), tuple(sorted(hours)), days, months, weekdays, any_day, zone=zone)


def _field(field: str, low: int, high: int, names: Mapping[str, int]) -> tuple[frozenset[int], bool]:
    """The numbers of one field, and whether it was a star."""
    numbers: set[int] = set()
    star = False
    for part in field.split(","):
        if not part:
            continue
        found, is_star = _range(part, low, high, names)
        numbers.update(found)
        star = star or is_star
    return frozenset(numbers), star


def _range(text: str, low: int, high: int, names: Mapping[str, int]) -> tuple[range, bool]:
    whole, *steps = text.split("/")
    first, *rest = whole.split("-")
    star = first in ("*", "?")
    if star:
        start, end = low, high
    else:
        start = end = _number(first, names)
        if len(rest) > 1:
            raise ValueError(f"too many hyphens: {text}")
        if rest:
            end = _number(rest[0], names)
    step = 1
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    if steps:
        step = _number(steps[0], {})
        if not rest:
            end = high
        star = star and step == 1
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    return range(start, end + 1, step), star


def _number(text: str, names: Mapping[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number


def _duration(text: str, duration: str) -> int:
    """Whole seconds, at least one."""
    if not duration or _DURATION.sub("", duration):
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(duration))
    return max(1, int(seconds))
