from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.timestamps import canonical_micro, canonical_time, format_micro, format_time, parse_duration, parse_time


def test_times_are_written_in_utc():
    moment = datetime(2026, 1, 2, 4, 4, 5, 6, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(moment) == "2026-01-02T03:04:05Z"
    assert format_micro(moment) == "2026-01-02T03:04:05.000006Z"


def test_any_offset_and_fraction_is_read():
    expected = datetime(2026, 1, 2, 3, 4, 5, 120000, tzinfo=UTC)
    assert parse_time("2026-01-02T05:04:05.12+02:00") == expected
    assert parse_time("2026-01-02T03:04:05.120000001Z") == expected
    assert canonical_time("2026-01-02T05:04:05+02:00") == "2026-01-02T03:04:05Z"
    assert canonical_micro("2026-01-02T03:04:05Z") == "2026-01-02T03:04:05.000000Z"
    assert canonical_micro("2026-01-02T03:04:05,000006Z") == "2026-01-02T03:04:05.000006Z"


@pytest.mark.parametrize("text, message", [
    ("yesterday", 'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"'),
    ("2026-01-02", 'parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'),
    ("2026-13-02T00:00:00Z", 'parsing time "2026-13-02T00:00:00Z": month out of range'),
    ("2026-02-30T00:00:00Z", 'parsing time "2026-02-30T00:00:00Z": day out of range'),
    ("2026-01-02T03:04:05Zjunk", 'parsing time "2026-01-02T03:04:05Zjunk": extra text: "junk"'),
])  # fmt: skip
def test_what_is_no_time_is_refused_in_upstreams_words(text, message):
    with pytest.raises(ValueError) as failure:
        parse_time(text)
    assert str(failure.value) == message


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_micro_times_round_trip(moment):
    assert parse_time(format_micro(moment)) == moment
    assert canonical_micro(format_micro(moment)) == format_micro(moment)
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


def test_durations_are_read_as_go_reads_them():
    given = ("1h2m3.5s", "-1.5s", "0", "250us", "2562047h47m16s")
    assert [parse_duration(text).total_seconds() for text in given] == [3723.5, -1.5, 0, 0.00025, 9223372036]


@pytest.mark.parametrize("text", ["", "5", "s", "1d", "1 s", "2562047h47m17s", "9" * 400 + "h"])
def test_what_is_no_duration_or_longer_than_go_can_count_is_refused(text):
    with pytest.raises(ValueError, match=f'time: invalid duration "{text}"'):
        parse_duration(text)
