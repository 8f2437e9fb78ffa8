"""Processes that must keep running: started, watched, restarted with back-off, and found again after our own restart."""

import asyncio
import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.host.pki import write_private
from kobune.host.pulse import falls_silent, last_beat

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 30.0
STABLE_SECONDS = 60.0  # A process that lived this long starts again without delay.
STOP_GRACE_SECONDS = 20.0


class Command(NamedTuple):
    """A process that should run."""

    argv: tuple[str, ...]
    stamp: str = ""  # Of what the process reads when it starts: one with another stamp is to be started anew.


@dataclass(frozen=True, slots=True)
class Running:
    """A process as told apart from a later one with the same number."""

    pid: int
    started: str  # Field 22 of /proc/PID/stat: clock ticks since boot.
    stamp: str = ""  # Of the command as it was when the process started.

    @property
    def is_alive(self) -> bool:
        return _start_of(self.pid) == self.started


class Keeper:
    """Keeps one command running.

    Args:
        name: of the process, and of its record file; `command`: what to run.
        record: where the running process is written down, so that a later keeper adopts it.
        output: what the process writes to stdout and stderr is appended here.
        pulse: where the process may give signs of life (host/pulse.py); one that did and falls silent is killed.
        on_change: called after each start and each end.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        record: Path,
        output: Path,
        pulse: Path | None = None,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.restarts = 0
        self.last_exit = ""  # Of the last process that ended by itself.
        self.pause = 0.0  # Seconds between its end and the next start; 0: it runs, or is started at once.
        self.command = command
        self._record = record
        self._output = output
        self._pulse = pulse
        self._clock = clock
        self._on_change = on_change
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> Running | None:
        """The live process."""
        return find_running(self._record)

    async def run(self) -> None:
        """Keep it running until cancelled; the process itself survives the cancellation."""
        delay = 0.0
        while True:
            running = self.running
            began = self._clock.monotonic()
            if running is None:
                if delay:
                    await self._clock.sleep(delay)
                    began = self._clock.monotonic()
                running = self._start()
            self.pause = 0.0
            self._on_change()
            await self._until_ended(running.pid)
            lived = self._clock.monotonic() - began
            self.last_exit = self._exit_text()
            self.restarts += 1
            delay = 0.0 if lived > STABLE_SECONDS else min(max(FIRST_DELAY_SECONDS, delay * 2), LONGEST_DELAY_SECONDS)
            self.pause = delay
            log.warning(
                "process ended", extra={"component": self.name, "exit": self.last_exit, "again_in_seconds": delay}
            )
            self._on_change()

    async def beats(self, *, within: float) -> bool:
        """Return when the process has given a sign of life, or none for so many seconds."""
        give_up = self._clock.monotonic() + within
        while self._clock.monotonic() < give_up:
            running = self.running
            if self._pulse is not None and running is not None and last_beat(self._pulse, running.pid):
                return True
            await self._clock.sleep(0.1)
        return False

    async def _until_ended(self, pid: int) -> None:
        if self._pulse is None:
            await _wait_for_end(pid)
            return
        async with asyncio.TaskGroup() as tasks:
            judging = tasks.create_task(self._kill_when_silent(self._pulse, pid), name=f"pulse of {self.name}")
            await _wait_for_end(pid)
            judging.cancel()

    async def _kill_when_silent(self, pulse: Path, pid: int) -> None:
        await falls_silent(pulse, pid, self._clock)
        log.error("process hangs and is killed", extra={"component": self.name, "pid": pid})
        _signal(pid, signal.SIGKILL)

    async def stop(self, *, grace: float = 0.0) -> None:
        """TERM, then KILL after the grace period (0: the usual one); call after `run` was cancelled."""
        running = self.running
        if running is not None:
            _signal(running.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(grace or STOP_GRACE_SECONDS):
                    await _wait_for_end(running.pid)
            except TimeoutError:
                log.warning("process did not end in time", extra={"component": self.name})
                _signal(running.pid, signal.SIGKILL)
                await _wait_for_end(running.pid)
        self._exit_text()
        self._record.unlink(missing_ok=True)

    def _start(self) -> Running:
        self._output.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self._output, "ab") as output:
            # A session of its own: what ends the service or its terminal does not end the process.
            self._child = subprocess.Popen(
                self.command.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        running = Running(self._child.pid, _start_of(self._child.pid), self.command.stamp)
        write_private(self._record, json.dumps(asdict(running)).encode())
        log.info("process started", extra={"component": self.name, "pid": running.pid})
        return running

    def _exit_text(self) -> str:
        """How our own child ended; an adopted process does not tell us."""
        if self._child is None:
            return "ended"
        code = self._child.wait()
        self._child = None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def find_running(record: Path) -> Running | None:
    """The live process that a keeper wrote down."""
    try:
        found = Running(**json.loads(record.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if found.is_alive else None


def _start_of(pid: int) -> str:
    """When the process started; empty when there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


async def _wait_for_end(pid: int) -> None:
    """Return when the process has ended, be it our child or not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
