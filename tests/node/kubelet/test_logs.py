"""Reading container logs as CRI runtimes write them."""

import asyncio
from datetime import UTC, datetime

import pytest

from kobune.api.clock import SystemClock
from kobune.node.kubelet.server.logs import LogOptions, parse_options, read_log, tail_offset

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
LINES = [
    "2026-01-05T08:00:01.000000001Z stdout F one",
    "2026-01-05T08:00:02.000000001Z stderr F two",
    "2026-01-05T08:00:03.000000001Z stdout P thr",
    "2026-01-05T08:00:03.500000001Z stdout F ee",
    "2026-01-05T08:00:04.000000001Z stdout F ",
]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("".join(line + "\n" for line in LINES))
    return path


async def stopped():
    return False


async def text(path, **options):
    pieces = read_log(path, LogOptions(**options), stopped, clock=SystemClock())
    return b"".join([piece async for piece in pieces]).decode()


async def test_lines_lose_their_stamps_and_parts_are_joined(log):
    assert await text(log) == "one\ntwo\nthree\n\n"


async def test_stamps_are_given_once_per_line(log):
    assert (await text(log, timestamps=True)).splitlines()[2] == "2026-01-05T08:00:03.000000001Z three"


async def test_since_leaves_out_what_is_older(log):
    since = datetime(2026, 1, 5, 8, 0, 2, tzinfo=UTC)
    assert await text(log, since=since) == "two\nthree\n\n"


@pytest.mark.parametrize(
    "lines, expected", [(0, ""), (1, "\n"), (2, "ee\n\n"), (4, "two\nthree\n\n"), (99, "one\ntwo\nthree\n\n")]
)
async def test_tail_counts_lines_of_the_file(log, lines, expected):
    assert await text(log, tail_lines=lines) == expected


async def test_no_more_bytes_are_given_than_asked_for(log):
    assert await text(log, limit_bytes=6) == "one\ntw"


async def test_one_stream_may_be_chosen(log):
    assert await text(log, stream="Stderr") == "two\n"


async def test_tail_works_across_blocks(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"".join(b"%06d %s\n" % (number, b"x" * 90) for number in range(5000)))
    with path.open("rb") as file:
        file.seek(tail_offset(file.fileno(), 1500))
        assert file.read(6) == b"003500"


async def test_following_gives_what_is_written_later_and_survives_rotation(log):
    running = asyncio.Event()

    async def is_running():
        return not running.is_set()

    async def write():
        await asyncio.sleep(0.15)
        with log.open("a") as file:
            file.write("2026-01-05T08:00:05Z stdout F five\n")
        await asyncio.sleep(0.15)
        log.rename(log.with_name("0.log.1"))
        log.write_text("2026-01-05T08:00:06Z stdout F six\n")
        await asyncio.sleep(0.25)
        running.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        pieces = [piece async for piece in read_log(log, LogOptions(follow=True), is_running, clock=SystemClock())]
    assert b"".join(pieces).decode() == "one\ntwo\nthree\n\nfive\nsix\n"


async def test_a_missing_log_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        await text(tmp_path / "none")


def test_options_are_read_from_the_query():
    options = parse_options({"follow": "true", "tailLines": "5", "sinceSeconds": "60", "previous": "false"}, NOW)
    assert options == LogOptions(follow=True, tail_lines=5, since=datetime(2026, 1, 5, 7, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    "query", [{"tailLines": "-1"}, {"limitBytes": "0"}, {"sinceSeconds": "x"}, {"sinceSeconds": "0"}]
)
def test_impossible_options_are_refused(query):
    with pytest.raises(ValueError):
        parse_options(query, NOW)
