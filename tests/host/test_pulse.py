"""Signs of life, and what happens to a process that gives them no more."""

import asyncio
import os
import signal
import sys

import pytest

from kobune.api.clock import SystemClock
from kobune.host import pulse
from kobune.host.processes import Command, Keeper

BEATS = """
import asyncio, pathlib, sys
from kobune.api.clock import SystemClock
from kobune.host.pulse import beat
asyncio.run(beat(pathlib.Path(sys.argv[1]), SystemClock()))
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.1)


def keeper(tmp_path, program):
    argv = (sys.executable, "-c", program, str(tmp_path / "pulse"))
    return Keeper("child", Command(argv), record=tmp_path / "record", output=tmp_path / "output",
                  pulse=tmp_path / "pulse", clock=SystemClock(), on_change=lambda: None)  # fmt: skip


async def test_a_process_that_hangs_is_killed_and_started_anew(tmp_path):
    # The process beats once a second: many looks of the keeper, whose patience is longer.
    kept = keeper(tmp_path, BEATS)
    task = asyncio.create_task(kept.run())
    assert await kept.beats(within=60)
    first = kept.running
    assert first is not None
    os.kill(first.pid, signal.SIGSTOP)
    async with asyncio.timeout(60):
        while (now := kept.running) is None or now.pid == first.pid:
            await asyncio.sleep(0.05)
    assert (kept.restarts, kept.last_exit) == (1, "killed by SIGKILL")
    assert await kept.beats(within=60)
    task.cancel()
    await kept.stop()


async def test_who_never_gave_a_sign_of_life_is_not_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(pulse, "SILENT_LOOKS", 2)
    kept = keeper(tmp_path, "import time; time.sleep(60)")
    task = asyncio.create_task(kept.run())
    assert not await kept.beats(within=1)
    assert kept.restarts == 0
    task.cancel()
    await kept.stop()


def test_a_sign_of_life_of_another_process_is_none(tmp_path):
    (tmp_path / "pulse").write_text("12 3")
    assert pulse.last_beat(tmp_path / "pulse", 12) == "12 3"
    assert pulse.last_beat(tmp_path / "pulse", 1) == ""
    assert pulse.last_beat(tmp_path / "missing", 12) == ""
