from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.controlplane.controllers.cronjob.schedule import find_zone, latest_before, parse_schedule


def after(schedule, moment, zone="UTC", count=1):
    times, at = [], datetime.fromisoformat(moment).replace(tzinfo=find_zone(zone))
    for _ in range(count):
        at = parse_schedule(schedule).next_after(at.astimezone(UTC), find_zone(zone))
        times.append(at.astimezone(find_zone(zone)).strftime("%a %Y-%m-%d %H:%M"))
    return times[-1]


@pytest.mark.parametrize(
    ("schedule", "moment", "expected"),
    [
        ("* * * * *", "2026-01-05 08:00:30", "Mon 2026-01-05 08:01"),
        ("*/15 * * * *", "2026-01-05 08:46", "Mon 2026-01-05 09:00"),
        ("30 6 * * *", "2026-01-05 08:00", "Tue 2026-01-06 06:30"),
        ("0 0 1 * *", "2026-01-05 08:00", "Sun 2026-02-01 00:00"),
        ("0 0 31 * *", "2026-02-01 00:00", "Tue 2026-03-31 00:00"),
        ("0 0 29 2 *", "2026-01-01 00:00", "Tue 2028-02-29 00:00"),
        ("0 12 * * mon-fri", "2026-01-09 13:00", "Mon 2026-01-12 12:00"),
        ("0 12 13 * fri", "2026-01-05 00:00", "Fri 2026-01-09 12:00"),
        ("5-10/2 3 * jan,feb *", "2026-01-05 03:06", "Mon 2026-01-05 03:07"),
        ("10/20 * * * *", "2026-01-05 08:31", "Mon 2026-01-05 08:50"),
        ("@hourly", "2026-01-05 08:00", "Mon 2026-01-05 09:00"),
        ("@weekly", "2026-01-05 08:00", "Sun 2026-01-11 00:00"),
        ("@every 1h30m", "2026-01-05 08:00", "Mon 2026-01-05 09:30"),
        ("0 0 ? * ?", "2026-01-05 08:00", "Tue 2026-01-06 00:00"),
    ],
)
def test_the_next_time(schedule, moment, expected):
    assert after(schedule, moment) == expected


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* * 0 * *", "* * * * mon-", "*/0 * * * *", "5-1 * * * *", "@never", "@every x"],
)
def test_a_bad_schedule_is_explained(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_schedule(text)


def test_a_schedule_that_never_comes_has_no_next_time():
    assert parse_schedule("0 0 31 2 *").next_after(datetime(2026, 1, 1, tzinfo=UTC), UTC) is None


def test_times_follow_the_zone_through_summer_time():
    zone = "Europe/Berlin"
    assert after("0 9 * * *", "2026-03-28 10:00", zone) == "Sun 2026-03-29 09:00"
    # Clocks go from 2 to 3: there is no half past two that day.
    assert after("30 2 * * *", "2026-03-28 03:00", zone) == "Mon 2026-03-30 02:30"
    # And back from 3 to 2: half past two comes twice.
    first = parse_schedule("30 2 * * *").next_after(datetime(2026, 10, 24, 12, tzinfo=UTC), find_zone(zone))
    second = parse_schedule("30 2 * * *").next_after(first, find_zone(zone))
    assert second - first == timedelta(hours=1)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["*/7 * * * *", "0 */5 * * *", "30 4 1,15 * *", "0 0 * * 1", "15 10 * 3 *"]),
    st.integers(0, 400 * 24 * 60),
    st.integers(1, 10 * 24 * 60),
)
def test_the_latest_time_is_what_walking_all_times_finds(schedule, start, length):
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    end = begin + timedelta(minutes=length)
    parsed = parse_schedule(schedule)
    found, at = None, parsed.next_after(begin, UTC)
    while at is not None and at <= end:
        found, at = at, parsed.next_after(at, UTC)
    assert latest_before(parsed, begin, end, UTC) == found


def test_an_unknown_zone_is_none():
    assert find_zone("Atlantis/Capital") is None
