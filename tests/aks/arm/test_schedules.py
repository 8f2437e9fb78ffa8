"""When maintenance windows are open."""

from datetime import UTC, date, datetime, timedelta

import pytest

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.schedules import check_slots, opened, parse_window, slot_opened

FIRST = date(2026, 1, 5)  # A Monday.


def window(schedule, *, start="04:00", hours=4, first=FIRST, **more):
    body = {"schedule": schedule, "startTime": start, "durationHours": hours, **more}
    return parse_window(body, default_date=first)


def days_open(schedule, until=200, **options):
    """The days, counted from FIRST, on which the window opens."""
    made = window(schedule, **options)
    noon = datetime(2026, 1, 5, 5, 0, tzinfo=UTC)
    return [day for day in range(until) if opened(made, noon + timedelta(days=day))]


@pytest.mark.parametrize(
    "schedule, expected",
    [
        pytest.param({"daily": {"intervalDays": 3}}, [0, 3, 6, 9, 12, 15, 18], id="every-third-day"),
        pytest.param({"weekly": {"intervalWeeks": 1, "dayOfWeek": "Wednesday"}}, [2, 9, 16], id="every-wednesday"),
        pytest.param({"weekly": {"intervalWeeks": 2, "dayOfWeek": "Monday"}}, [0, 14], id="every-second-monday"),
    ],
)
def test_days_and_weeks_are_counted_from_the_start_date(schedule, expected):
    assert days_open(schedule, until=20) == expected


def dates(schedule, **options):
    return [str(FIRST + timedelta(days=day)) for day in days_open(schedule, **options)]


def test_a_day_that_a_month_has_not_is_its_last_one():
    found = dates({"absoluteMonthly": {"intervalMonths": 1, "dayOfMonth": 31}}, until=120)
    assert found == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]


def test_months_are_counted_from_the_start_dates():
    found = dates({"absoluteMonthly": {"intervalMonths": 3, "dayOfMonth": 10}})
    assert found == ["2026-01-10", "2026-04-10", "2026-07-10"]


@pytest.mark.parametrize(
    "week, expected",
    [
        ("First", ["2026-02-02", "2026-04-06"]),
        ("Third", ["2026-01-19", "2026-03-16"]),
        ("Last", ["2026-01-26", "2026-03-30"]),
    ],
)
def test_relative_days_are_counted_in_their_month(week, expected):
    interval = 1 if week == "First" else 2
    schedule = {"relativeMonthly": {"intervalMonths": interval, "dayOfWeek": "Monday", "weekIndex": week}}
    found = dates(schedule, until=100, first=date(2026, 1, 6) if week == "First" else FIRST)
    assert [day for day in found if day in expected] == expected
    assert len(found) == (3 if week == "First" else 2)


def test_a_window_is_open_for_its_hours_and_over_midnight():
    made = window({"weekly": {"intervalWeeks": 1, "dayOfWeek": "Monday"}}, start="22:30", hours=5)
    since = datetime(2026, 1, 5, 22, 30, tzinfo=UTC)
    for minutes, is_open in [(-1, False), (0, True), (120, True), (299, True), (300, False)]:
        assert opened(made, since + timedelta(minutes=minutes)) == (since if is_open else None)


def test_a_window_opens_in_local_time():
    made = window({"daily": {"intervalDays": 1}}, start="00:00", utcOffset="+05:30")
    assert opened(made, datetime(2026, 1, 5, 18, 29, tzinfo=UTC)) is None
    assert opened(made, datetime(2026, 1, 5, 18, 31, tzinfo=UTC)) == datetime(2026, 1, 5, 18, 30, tzinfo=UTC)


def test_a_window_is_closed_before_its_start_date_and_on_days_that_are_not_allowed():
    schedule = {"daily": {"intervalDays": 1}}
    assert days_open(schedule, until=5, startDate="2026-01-07") == [2, 3, 4]
    assert days_open(schedule, until=6, notAllowedDates=[{"start": "2026-01-06", "end": "2026-01-08"}]) == [0, 4, 5]


def test_hour_slots_are_of_utc_and_closed_at_times_that_are_not_allowed():
    properties = {
        "timeInWeek": [{"day": "Monday", "hourSlots": [1, 2]}],
        "notAllowedTime": [{"start": "2026-01-12T00:00:00Z", "end": "2026-01-13T00:00:00Z"}],
    }
    check_slots(properties)
    at = datetime(2026, 1, 5, 2, 40, tzinfo=UTC)
    assert slot_opened(properties, at) == at.replace(minute=0)
    assert slot_opened(properties, at + timedelta(hours=1)) is None
    assert slot_opened(properties, at + timedelta(days=7)) is None


@pytest.mark.parametrize(
    "change, target",
    [
        ({"durationHours": 3}, "durationHours"),
        ({"durationHours": 25}, "durationHours"),
        ({"startTime": "24:00"}, "startTime"),
        ({"startTime": None}, "startTime"),
        ({"utcOffset": "5:30"}, "utcOffset"),
        ({"startDate": "soon"}, "startDate"),
        ({"schedule": {}}, "schedule"),
        ({"schedule": {"daily": {"intervalDays": 1}, "weekly": {"intervalWeeks": 1}}}, "schedule"),
        ({"schedule": {"daily": {"intervalDays": 8}}}, "schedule.daily.intervalDays"),
        ({"schedule": {"weekly": {"intervalWeeks": 5, "dayOfWeek": "Monday"}}}, "schedule.weekly.intervalWeeks"),
        ({"schedule": {"weekly": {"intervalWeeks": 1, "dayOfWeek": "Someday"}}}, "schedule.weekly.dayOfWeek"),
        ({"schedule": {"absoluteMonthly": {"intervalMonths": 7, "dayOfMonth": 1}}}, "schedule.absoluteMonthly.intervalMonths"),
        ({"schedule": {"absoluteMonthly": {"intervalMonths": 1, "dayOfMonth": 32}}}, "schedule.absoluteMonthly.dayOfMonth"),
        ({"schedule": {"relativeMonthly": {"intervalMonths": 1, "dayOfWeek": "Monday", "weekIndex": "Fifth"}}},
         "schedule.relativeMonthly.weekIndex"),
        ({"notAllowedDates": [{"start": "2026-02-01", "end": "2026-01-01"}]}, "notAllowedDates"),
    ],
)  # fmt: skip
def test_what_is_no_window_is_refused(change, target):
    good = {"schedule": {"daily": {"intervalDays": 1}}, "startTime": "04:00", "durationHours": 4}
    with pytest.raises(ArmError) as refusal:
        parse_window(good | change, default_date=FIRST)
    assert (refusal.value.code, refusal.value.target.rpartition("maintenanceWindow.")[2]) == (
        "InvalidParameter",
        target,
    )
