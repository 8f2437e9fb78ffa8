"""Signs of life: a process says again and again that it is at work, and its keeper ends one that falls silent."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kobune.api.clock import Clock

BEAT_SECONDS = 1.0
# Looks, not seconds on a clock: a machine that slept must not find its processes silent.
SILENT_LOOKS = 20


@asynccontextmanager
async def beating(file: Path, clock: Clock) -> AsyncIterator[None]:
    """Give signs of life while the block lasts, from its beginning on."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(beat(file, clock), name="pulse")
        try:
            yield
        finally:
            task.cancel()


async def beat(file: Path, clock: Clock) -> None:
    """Give signs of life until cancelled."""
    count = 0
    while True:
        _say(file, f"{os.getpid()} {count}")
        count += 1
        await clock.sleep(BEAT_SECONDS)


def _say(file: Path, text: str) -> None:
    # A full disk is no reason to end; nor is what was not written taken for silence.
    with contextlib.suppress(OSError):
        file.write_text(text)


def last_beat(file: Path, pid: int) -> str:
    """The process's newest sign of life; empty: it has given none."""
    try:
        found = file.read_text()
    except FileNotFoundError:
        return ""
    return found if found.startswith(f"{pid} ") else ""


async def falls_silent(file: Path, pid: int, clock: Clock) -> None:
    """Return when the process, having given signs of life, gives none any more."""
    seen, silent = "", 0
    while silent < SILENT_LOOKS:
        await clock.sleep(BEAT_SECONDS)
        found = last_beat(file, pid)
        silent = silent + 1 if found and found == seen else 0
        seen = found
