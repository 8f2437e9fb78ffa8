from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.api.cron import parse_schedule
from kobune.controlplane.controllers.cronjob.schedule import find_zone, latest_before


def after(schedule, moment, zone="UTC", count=1):
    times, at = [], datetime.fromisoformat(moment).replace(tzinfo=find_zone(zone))
    for _ in range(count):
        at = parse_schedule(schedule).next_after(at.astimezone(UTC), find_zone(zone))
        times.append(at.astimezone(find_zone(zone)).strftime("%a %Y-%m-%d %H:%M"))
    return times[-1]


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
