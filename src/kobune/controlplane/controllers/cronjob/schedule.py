"""Cron schedules: five fields or @hourly and the like, in a time zone. As github.com/robfig/cron reads them, which upstream uses."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

HORIZON_DAYS = 5 * 366  # A schedule without a time in five years has none.
MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
DAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Schedule(NamedTuple):
    """The minutes at which something is due; or, when `every` is set, an interval."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday.
    either_day: bool  # Both kinds of day are restricted: then either will do.
    every: float = 0.0  # Seconds.

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first time after `moment`, in UTC; None when there is none for years.

        Times that the zone leaps over do not occur; times that it repeats occur twice.
        """
        if self.every:
            whole = moment.replace(microsecond=0)
            return whole + timedelta(seconds=self.every)
        day = moment.astimezone(zone).date()
        for _ in range(HORIZON_DAYS):
            if self._is_on(day):
                found = self._first_on(day, moment, zone)
                if found is not None:
                    return found
            day += timedelta(days=1)
        return None

    def _is_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)

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
    """The schedule.

    Raises:
        ValueError: saying what is wrong with it.
    """
    text = text.strip()
    if text.startswith("@every "):
        return Schedule((), (), frozenset(), frozenset(), frozenset(), False, _duration(text[7:]))
    if text.startswith("@"):
        if text not in NAMED:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = NAMED[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {fields}")
    minute, hour, day, month, weekday = fields
    restricted = [field.partition("/")[0] not in ("*", "?") for field in (day, weekday)]
    return Schedule(
        tuple(sorted(_field(minute, 0, 59))),
        tuple(sorted(_field(hour, 0, 23))),
        frozenset(_field(day, 1, 31)),
        frozenset(_field(month, 1, 12, MONTHS)),
        frozenset(_field(weekday, 0, 6, DAYS)),
        all(restricted),
    )


@lru_cache(maxsize=1024)
def find_zone(name: str | None) -> tzinfo | None:
    """The time zone; without a name UTC, which is what the controller's own zone is. None when there is no such zone."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def latest_before(schedule: Schedule, after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
    """The last time in (after, until]; looks back in ever larger steps, so that a long pause costs little."""
    step = timedelta(minutes=2)
    while True:
        start = max(after, until - step)
        found = None
        at = schedule.next_after(start, zone)
        while at is not None and at <= until:
            found, at = at, schedule.next_after(at, zone)
        if found is not None or start == after:
            return found
        step *= 30


def _field(text: str, low: int, high: int, names: Mapping[str, int] | None = None) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        spread, slash, step_text = part.partition("/")
        first, dash, last = spread.partition("-")
        if first in ("*", "?"):
            start, end = low, high
        else:
            start = _number(first, names)
            end = _number(last, names) if dash else (high if slash else start)
        step = _number(step_text, None) if slash else 1
        if step == 0:
            raise ValueError(f"step of range should be a positive number: {part}")
        if start < low:
            raise ValueError(f"beginning of range ({start}) below minimum ({low}): {part}")
        if end > high:
            raise ValueError(f"end of range ({end}) above maximum ({high}): {part}")
        if start > end:
            raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {part}")
        values.update(range(start, end + 1, step))
    return values


def _number(text: str, names: Mapping[str, int] | None) -> int:
    if names and text.lower() in names:
        return names[text.lower()]
    if not text.isdigit():
        raise ValueError(f"failed to parse int from {text}")
    return int(text)


def _duration(text: str) -> float:
    """Seconds of a Go duration as "1h30m"; at least one."""
    total, number, rest = 0.0, "", text.strip()
    if not rest:
        raise ValueError("failed to parse duration @every ")
    while rest:
        size = 0
        while size < len(rest) and (rest[size].isdigit() or rest[size] == "."):
            size += 1
        number, rest = rest[:size], rest[size:]
        unit = next((each for each in ("ms", "us", "ns", "h", "m", "s") if rest.startswith(each)), None)
        if not number or unit is None:
            raise ValueError(f"failed to parse duration @every {text}")
        total += float(number) * UNITS[unit]
        rest = rest[len(unit) :]
    return max(float(int(total)), 1.0)
