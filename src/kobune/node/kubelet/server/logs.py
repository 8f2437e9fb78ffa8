"""Container logs as CRI runtimes write them: `STAMP STREAM TAG TEXT` per line, with P for a part of a longer line."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kobune.api.clock import Clock
from kobune.api.timestamps import parse_time

CHUNK_BYTES = 64 << 10
POLL_SECONDS = 0.1  # While following; reading a file's size costs microseconds.
FAR_PAST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LogOptions:
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"  # "All", "Stdout" or "Stderr".


def parse_options(query: Mapping[str, str], now: datetime) -> LogOptions:
    """The options of a request.

    Raises:
        ValueError: one is not of its type, or they contradict each other.
    """
    since = parse_time(query["sinceTime"]) if query.get("sinceTime") else None
    if query.get("sinceSeconds"):
        seconds = int(query["sinceSeconds"])
        if since is not None:
            raise ValueError("at most one of `sinceTime` or `sinceSeconds` may be specified")
        if seconds < 1:
            raise ValueError("sinceSeconds must be greater than 0")
        since = now - timedelta(seconds=seconds)
    tail = int(query["tailLines"]) if query.get("tailLines") else None
    limit = int(query["limitBytes"]) if query.get("limitBytes") else None
    if tail is not None and tail < 0:
        raise ValueError("tailLines must be greater than or equal to 0")
    if limit is not None and limit < 1:
        raise ValueError("limitBytes must be greater than 0")
    return LogOptions(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        since=since,
        tail_lines=tail,
        limit_bytes=limit,
        stream=query.get("stream") or "All",
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = query.get(name)
    return value is not None and value.lower() in ("", "true", "1", "t")


async def read_log(
    path: Path, options: LogOptions, is_running: Callable[[], Awaitable[bool]], *, clock: Clock
) -> AsyncIterator[bytes]:
    """The log's text in pieces. Following ends when the container has ended and all is read.

    A file that the runtime has been told to continue elsewhere (rotation) is read to its end before the new one.

    Raises:
        FileNotFoundError: there is no log.
    """
    renderer = _Renderer(options)
    with path.open("rb") as first:
        file = first
        if options.tail_lines is not None:
            file.seek(tail_offset(file.fileno(), options.tail_lines))
        rest = b""
        ended = False
        try:
            while True:
                chunk = file.read(CHUNK_BYTES)
                if chunk:
                    lines = (rest + chunk).split(b"\n")
                    rest = lines.pop()
                    piece = renderer.render(lines)
                    if piece:
                        yield piece
                    if renderer.is_full:
                        return
                    continue
                if not options.follow or ended:
                    return
                if _is_rotated(file.fileno(), path):
                    following = path.open("rb")
                    if file is not first:
                        file.close()
                    file, rest = following, b""
                    continue
                # What was written between our last read and the container's end is read once more.
                ended = not await is_running()
                if not ended:
                    await clock.sleep(POLL_SECONDS)
        finally:
            if file is not first:
                file.close()


def _is_rotated(descriptor: int, path: Path) -> bool:
    """The path leads to another file than the one being read."""
    try:
        return os.stat(path).st_ino != os.fstat(descriptor).st_ino
    except OSError:
        return False  # Between renaming and reopening there is none.


def tail_offset(descriptor: int, lines: int) -> int:
    """Where the last `lines` lines of the file begin."""
    end = os.fstat(descriptor).st_size
    if lines == 0:
        return end
    position, seen = end, 0
    while position > 0:
        start = max(0, position - CHUNK_BYTES)
        block = os.pread(descriptor, position - start, start)
        if position == end and block.endswith(b"\n"):
            block = block[:-1]  # The last line's own end is no boundary.
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            seen += 1
            if seen == lines:
                return start + at + 1
        position = start
    return 0


class _Renderer:
    """Turns lines of the file into what the client asked for."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit_bytes
        self._at_start = True  # Of a line of the container's own.
        self._skipping = options.since is not None

    @property
    def is_full(self) -> bool:
        return self._left == 0

    def render(self, lines: list[bytes]) -> bytes:
        options = self._options
        wanted = {"Stdout": b"stdout", "Stderr": b"stderr"}.get(options.stream)
        pieces: list[bytes] = []
        for line in lines:
            stamp, _, more = line.partition(b" ")
            stream, _, more = more.partition(b" ")
            tag, space, text = more.partition(b" ")
            if not space and not tag:
                continue  # Not a line of ours: half-written before a crash.
            if wanted is not None and stream != wanted:
                continue
            # Stamps only grow, so the first that fits ends the search.
            if self._skipping and options.since is not None:
                if parse_stamp(stamp) < options.since:
                    continue
                self._skipping = False
            if options.timestamps and self._at_start:
                pieces.append(stamp + b" ")
            partial = tag[:1] == b"P"
            pieces.append(text if partial else text + b"\n")
            self._at_start = not partial
        return self._limited(b"".join(pieces))

    def _limited(self, piece: bytes) -> bytes:
        if self._left is None:
            return piece
        piece = piece[: self._left]
        self._left -= len(piece)
        return piece


def parse_stamp(stamp: bytes) -> datetime:
    """The moment of a log line; nanoseconds are cut to microseconds. What is no stamp is of the far past."""
    try:
        return parse_time(stamp.decode())
    except (ValueError, UnicodeDecodeError):
        return FAR_PAST
