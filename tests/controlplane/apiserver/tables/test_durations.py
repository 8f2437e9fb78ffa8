"""Durations in a column's few characters."""

from datetime import UTC, datetime

import pytest

from kobune.controlplane.apiserver.tables.durations import human_duration, since

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 86400 * 365


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2.5, "<invalid>"), (-1.5, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (200, "3m20s"), (599, "9m59s"),
        (10 * MINUTE, "10m"), (3 * HOUR - 1, "179m"), (3 * HOUR, "3h"), (7 * HOUR + 5 * MINUTE, "7h5m"),
        (8 * HOUR + 59 * MINUTE, "8h"), (47 * HOUR, "47h"), (48 * HOUR, "2d"), (5 * DAY + 3 * HOUR, "5d3h"),
        (8 * DAY, "8d"), (2 * YEAR - 1, "729d"), (2 * YEAR, "2y"), (2 * YEAR + 90 * DAY, "2y90d"), (8 * YEAR, "8y"),
    ],
)  # fmt: skip
def test_a_duration_is_short(seconds, text):
    assert human_duration(seconds) == text


def test_the_time_since_nothing_is_unknown():
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert since(None, now) == "<unknown>"
    assert since("2026-01-01T23:59:00Z", now) == "60s"
    assert since("2026-01-01T23:00:00.500000Z", now) == "59m"
