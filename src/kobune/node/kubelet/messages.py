"""What a container has to say about its end: the file it wrote, or the tail of its log."""

import os
from pathlib import Path

from kobune.node.kubelet.containers import MESSAGE_POLICY
from kobune.node.runtime.runtime import Container, State

FILE_LIMIT = 4096  # Bytes. Source: upstream MaxContainerTerminationMessageLength.
LOG_LIMIT, LOG_LINES = (
    2048,
    80,
)  # Bytes and lines. Source: upstream MaxContainerTerminationMessageLogLength and …LogLines.
TAIL_BYTES = 16 << 10  # Read from a log's end: room for the stamps of LOG_LINES lines.


def termination_message(record: Container, file: Path, log: Path) -> str:
    """The message, by the container's terminationMessagePolicy; empty when there is none."""
    if record.state is not State.EXITED:
        return ""
    text = _read(file, FILE_LIMIT)
    if text or record.exit_code == 0 or record.annotations.get(MESSAGE_POLICY) != "FallbackToLogsOnError":
        return text
    return tail_of_log(log)


def _read(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode(errors="replace")
    except OSError:
        return ""


def tail_of_log(path: Path) -> str:
    """The last lines of a container's log, without stamps, at most LOG_LIMIT bytes."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return ""
    if size > TAIL_BYTES:
        lines = lines[1:]  # Its beginning is cut off.
    pieces = []
    for line in lines[-LOG_LINES:]:
        parts = line.split(b" ", 3)
        if len(parts) == 4:
            pieces.append(parts[3] + (b"" if parts[2].startswith(b"P") else b"\n"))
    return b"".join(pieces)[-LOG_LIMIT:].decode(errors="replace")
