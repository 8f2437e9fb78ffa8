"""A schedule's time zone, and the last of its times in a span."""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kobune.api.cron import Schedule


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
