"""When a maintenance window is open: AKS's recurring schedules, and the hour slots that came before them.

Source: AKS's page on planned maintenance; REST reference of maintenance configurations.
"""

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, NoReturn

from kobune.aks.arm.errors import invalid_parameter
from kobune.api.errors import Json

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")  # As `date.weekday` counts.
WEEKS = ("First", "Second", "Third", "Fourth", "Last")
SHORTEST_HOURS, LONGEST_HOURS = 4, 24
_OFFSET = re.compile(r"([+-])([0-1][0-9]):([0-5][0-9])")
_START = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
# Field and bounds of each kind's interval.
_INTERVALS = {
    "daily": ("intervalDays", 1, 7),
    "weekly": ("intervalWeeks", 1, 4),
    "absoluteMonthly": ("intervalMonths", 1, 6),
    "relativeMonthly": ("intervalMonths", 1, 6),
}


@dataclass(frozen=True, slots=True)
class Window:
    """A window that opens again and again, in local time of a fixed offset.

    Attributes:
        kind: of schedule: a key of the REST API's.
        interval: in days, weeks or months, counted from `first`.
        weekday: 0 is Monday; `month_day`: from 1, the month's last day when it has fewer.
        week: an index into WEEKS.
        closed: days on which nothing begins, the last ones included.
    """

    kind: str
    interval: int
    first: date
    start: time
    hours: int
    zone: timezone
    weekday: int = 0
    month_day: int = 1
    week: int = 0
    closed: Sequence[tuple[date, date]] = ()


def parse_window(window: Json, *, default_date: date) -> Window:
    """A `maintenanceWindow`. Without a startDate it begins with `default_date`. Raises ArmError."""
    schedules = {kind: value for kind, value in (window.get("schedule") or {}).items() if value}
    if len(schedules) != 1 or (kind := next(iter(schedules))) not in _INTERVALS:
        raise invalid_parameter(
            f"maintenanceWindow.schedule must have exactly one of {', '.join(_INTERVALS)}.",
            target="maintenanceWindow.schedule",
        )
    schedule, (field, least, most) = schedules[kind], _INTERVALS[kind]
    at = f"schedule.{kind}"
    weekly, absolute, relative = kind == "weekly", kind == "absoluteMonthly", kind == "relativeMonthly"
    return Window(
        kind=kind,
        interval=_number(schedule, field, least, most, at),
        first=_day(window["startDate"], "startDate") if window.get("startDate") else default_date,
        start=_start(window),
        hours=_number(window, "durationHours", SHORTEST_HOURS, LONGEST_HOURS),
        zone=parse_offset(window),
        weekday=_choice(schedule, "dayOfWeek", DAYS, at) if weekly or relative else 0,
        month_day=_number(schedule, "dayOfMonth", 1, 31, at) if absolute else 1,
        week=_choice(schedule, "weekIndex", WEEKS, at) if relative else 0,
        closed=tuple(_span(span) for span in window.get("notAllowedDates") or ()),
    )


def parse_offset(window: Json) -> timezone:
    """The window's `utcOffset`; UTC when there is none. Raises ArmError."""
    text = str(window.get("utcOffset") or "+00:00")
    found = _OFFSET.fullmatch(text)
    if not found:
        _refuse("utcOffset", text, "an offset like +05:30")
    sign = -1 if found[1] == "-" else 1
    return timezone(sign * timedelta(hours=int(found[2]), minutes=int(found[3])))


def opened(window: Window, now: datetime) -> datetime | None:
    """Since when the window is open; None: it is closed at `now`."""
    local = now.astimezone(window.zone)
    if any(start <= local.date() <= end for start, end in window.closed):
        return None
    for day in (local.date(), local.date() - timedelta(days=1)):  # It may reach over midnight.
        begin = datetime.combine(day, window.start, window.zone)
        if begin <= local < begin + timedelta(hours=window.hours) and _opens_on(window, day):
            return begin.astimezone(UTC)
    return None


def _opens_on(window: Window, day: date) -> bool:
    if day < window.first:
        return False
    months = (day.year - window.first.year) * 12 + day.month - window.first.month
    match window.kind:
        case "daily":
            return (day - window.first).days % window.interval == 0
        case "weekly":
            first = window.first + timedelta(days=(window.weekday - window.first.weekday()) % 7)
            return (day - first).days % (7 * window.interval) == 0
        case "absoluteMonthly":
            last = calendar.monthrange(day.year, day.month)[1]
            return day.day == min(window.month_day, last) and months % window.interval == 0
        case _:
            is_last = (day + timedelta(days=7)).month != day.month
            week = is_last if WEEKS[window.week] == "Last" else (day.day - 1) // 7 == window.week
            return day.weekday() == window.weekday and week and months % window.interval == 0


def check_slots(properties: Json) -> None:
    """The older form of the configuration `default`: days with hours. Raises ArmError."""
    for slot in properties.get("timeInWeek") or ():
        if slot.get("day") not in DAYS or not all(0 <= int(hour) <= 23 for hour in slot.get("hourSlots") or ()):
            raise invalid_parameter(f"timeInWeek: {slot} is not a day with hours from 0 to 23.", target="timeInWeek")
    for span in properties.get("notAllowedTime") or ():
        if _moment(span, "start") > _moment(span, "end"):
            _refuse("notAllowedTime", span, "a start and an end that is not before it")


def slot_opened(properties: Json, now: datetime) -> datetime | None:
    """As `opened`, of the older form; its hours are of UTC."""
    if any(_moment(span, "start") <= now <= _moment(span, "end") for span in properties.get("notAllowedTime") or ()):
        return None
    for slot in properties.get("timeInWeek") or ():
        if slot["day"] == DAYS[now.weekday()] and now.hour in [int(hour) for hour in slot.get("hourSlots") or ()]:
            return now.replace(minute=0, second=0, microsecond=0)
    return None


def _number(of: Json, field: str, least: int, most: int, at: str = "") -> int:
    value = of.get(field)
    if not isinstance(value, int) or not least <= value <= most:
        _refuse(f"{at}.{field}".lstrip("."), value, f"a number from {least} to {most}")
    return value


def _choice(of: Json, field: str, known: Sequence[str], at: str) -> int:
    value = str(of.get(field) or "")
    if value not in known:
        _refuse(f"{at}.{field}", of.get(field), f"one of {', '.join(known)}")
    return known.index(value)


def _start(window: Json) -> time:
    found = _START.fullmatch(str(window.get("startTime") or ""))
    if not found:
        _refuse("startTime", window.get("startTime"), "a time like 04:00")
    return time(int(found[1]), int(found[2]))


def _span(span: Json) -> tuple[date, date]:
    start, end = _day(span.get("start"), "notAllowedDates.start"), _day(span.get("end"), "notAllowedDates.end")
    if end < start:
        _refuse("notAllowedDates", span, "a start and an end that is not before it")
    return start, end


def _day(value: Any, field: str) -> date:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        _refuse(field, value, "a date like 2026-01-31")


def _moment(span: Json, field: str) -> datetime:
    try:
        found = datetime.fromisoformat(str(span.get(field)))
    except ValueError:
        _refuse(f"notAllowedTime.{field}", span.get(field), "a time like 2026-01-31T03:00:00Z")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _refuse(field: str, value: Any, wanted: str) -> NoReturn:
    raise invalid_parameter(
        f"The value of parameter maintenanceConfiguration.{field} is invalid. Error details: {value!r} is not {wanted}.",
        target=f"properties.maintenanceWindow.{field}",
    )
