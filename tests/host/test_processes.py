"""Processes that must keep running, with real ones."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from kobune.api.clock import SystemClock
from kobune.host.processes import Command, Keeper


def keeper(tmp_path, program, name="child", stamp=""):
    return Keeper(
        name,
        Command((sys.executable, "-c", program), stamp),
        record=tmp_path / f"{name}.json",
        output=tmp_path / f"{name}.out",
        clock=SystemClock(),
        on_change=lambda: None,
    )


async def running_pid(kept, other_than=0):
    async with asyncio.timeout(10):
        while (found := kept.running) is None or found.pid == other_than:
            await asyncio.sleep(0.01)
    return found.pid


async def test_a_killed_process_is_started_again(tmp_path):
    kept = keeper(tmp_path, "import time; time.sleep(60)")
    task = asyncio.create_task(kept.run())
    first = await running_pid(kept)
    os.kill(first, signal.SIGKILL)
    await running_pid(kept, other_than=first)
    assert (kept.restarts, kept.last_exit) == (1, "killed by SIGKILL")
    task.cancel()
    await kept.stop()
    assert kept.running is None


async def test_a_later_keeper_adopts_the_process_and_sees_its_end(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        (tmp_path / "child.json").write_text(json.dumps({"pid": child.pid, "started": stat[19]}))
        second = keeper(tmp_path, "import time; time.sleep(60)")
        task = asyncio.create_task(second.run())
        assert await running_pid(second) == child.pid
        child.kill()
        await running_pid(second, other_than=child.pid)
    task.cancel()
    await second.stop()


async def test_what_ends_at_once_is_restarted_ever_more_slowly(tmp_path):
    waits, told = [], []

    class Recording(SystemClock):
        async def sleep(self, seconds):
            waits.append(seconds)
            told.append(kept.pause)
            if len(waits) == 4:
                raise asyncio.CancelledError

    kept = Keeper("child", Command((sys.executable, "-c", "raise SystemExit('no')")), record=tmp_path / "r", output=tmp_path / "o",
                  clock=Recording(), on_change=lambda: None)  # fmt: skip
    await asyncio.gather(kept.run(), return_exceptions=True)
    assert waits == told == [0.1, 0.2, 0.4, 0.8]
    assert kept.last_exit == "exit status 1"


async def test_a_deaf_process_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("kobune.host.processes.STOP_GRACE_SECONDS", 0.3)
    kept = keeper(
        tmp_path, "import signal,time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    task = asyncio.create_task(kept.run())
    await running_pid(kept)
    async with asyncio.timeout(10):
        while "deaf" not in (tmp_path / "child.out").read_text():
            await asyncio.sleep(0.01)
    task.cancel()
    await kept.stop()
    assert kept.running is None


async def test_a_process_is_found_with_the_stamp_it_was_started_with(tmp_path):
    kept = keeper(tmp_path, "import time; time.sleep(60)", stamp="1.35")
    task = asyncio.create_task(kept.run())
    await running_pid(kept)
    task.cancel()
    later = keeper(tmp_path, "import time; time.sleep(60)", stamp="1.36")
    assert later.running.stamp == "1.35"
    await kept.stop()
