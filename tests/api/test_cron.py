from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.cron import parse_schedule

NOON = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)  # A Wednesday.


@pytest.mark.parametrize("text, expected", [
    ("* * * * *", "2026-03-04T12:01"),
    ("*/5 * * * *", "2026-03-04T12:05"),
    ("0 0 * * *", "2026-03-05T00:00"),
    ("30 9 * * mon", "2026-03-09T09:30"),
    ("0 0 29 2 *", "2028-02-29T00:00"),
    ("0 0 1 jan,jul *", "2026-07-01T00:00"),
    ("15-20/2 12 * * *", "2026-03-04T12:15"),
    ("@hourly", "2026-03-04T13:00"),
    ("@weekly", "2026-03-08T00:00"),
    ("@yearly", "2027-01-01T00:00"),
    # A day of the month and a day of the week: either will do.
    ("0 0 13 * fri", "2026-03-06T00:00"),
    ("0 0 */2 * fri", "2026-03-05T00:00"),
    ("0 12 13 * *", "2026-03-13T12:00"),
    ("0 0 ? * ?", "2026-03-05T00:00"),
    ("10/20 * * * *", "2026-03-04T12:10"),
    ("0 12 * * mon-fri", "2026-03-05T12:00"),
    ("TZ=Europe/Vienna 0 0 * * *", "2026-03-05T00:00"),
])  # fmt: skip
def test_the_next_time(text: str, expected: str):
    following = parse_schedule(text).next_after(NOON)
    assert following is not None
    assert following.strftime("%Y-%m-%dT%H:%M") == expected
    assert following.second == 0


def test_every_so_often():
    assert parse_schedule("@every 1m30s").next_after(NOON) == NOON + timedelta(seconds=90)


def test_a_day_that_never_comes():
    assert parse_schedule("0 0 30 2 *").next_after(NOON) is None


@pytest.mark.parametrize("text, fault", [
    ("", "empty spec string"),
    ("* * * * mon-", 'failed to parse int from : strconv.Atoi: parsing "": invalid syntax'),
    ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
    ("60 * * * *", "end of range (60) above maximum (59): 60"),
    ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
    ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
    ("*/0 * * * *", "step of range should be a positive number: */0"),
    ("1/2/3 * * * *", "too many slashes: 1/2/3"),
    ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
    ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
    ("@sometimes", "unrecognized descriptor: @sometimes"),
    ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
])  # fmt: skip
def test_what_is_no_schedule(text: str, fault: str):
    with pytest.raises(ValueError) as caught:
        parse_schedule(text)
    assert str(caught.value) == fault


@given(
    st.integers(0, 59), st.integers(0, 23),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)  # fmt: skip
def test_a_daily_time_comes_within_a_day(minute: int, hour: int, moment: datetime):
    following = parse_schedule(f"{minute} {hour} * * *").next_after(moment)
    assert following is not None
    assert (following.hour, following.minute) == (hour, minute)
    assert timedelta() < following - moment <= timedelta(days=1)
