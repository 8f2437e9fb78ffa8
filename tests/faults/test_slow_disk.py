"""A disk that takes long for each commit: who need not wait for it does not, and who must waits together."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kobune.controlplane.store.contract import Entry
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.controlplane.store.sqlite_log import Row, SqliteLog

COMMIT_SECONDS = 0.3
THROTTLES = Path("/sys/fs/cgroup/blkio")
WRITES_PER_SECOND = 10  # Of a throttled disk; a commit takes three.


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the commits; each takes as long as on a disk that is busy or going bad."""
    sizes: list[int] = []
    append = SqliteLog.append

    def slowly(log: SqliteLog, rows: Sequence[Row]) -> None:
        time.sleep(COMMIT_SECONDS)
        sizes.append(len(rows))
        append(log, rows)

    monkeypatch.setattr(SqliteLog, "append", slowly)
    return sizes


async def test_reads_do_not_wait_for_the_disk(tmp_path: Path, commits: list[int]) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await store.write("/a", b"1", expected=0)
    writing = asyncio.create_task(store.write("/b", b"1", expected=0))
    await asyncio.sleep(0)
    for _ in range(20):
        assert await store.read("/a") is not None
        assert len((await store.list("/")).entries) == 1, "a write was shown before it was on disk"
    assert not writing.done()
    await writing
    await store.close()


async def test_heartbeats_are_answered_while_the_disk_is_busy_with_those_before(
    tmp_path: Path, commits: list[int]
) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    began = time.monotonic()
    while len(commits) < 2:
        assert time.monotonic() - began < 60
        await store.write("/beat", str(began).encode(), expected=None, durable=False)
        await asyncio.sleep(0.01)
    beats = await store.revision()
    # At a commit for each heartbeat it would be two.
    assert beats > 4
    await store.close()


async def test_writers_that_wait_share_a_commit(tmp_path: Path, commits: list[int]) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await asyncio.gather(*(store.write(f"/{number}", b"", expected=0) for number in range(500)))
    await store.close()
    assert sum(commits) == 500
    assert len(commits) <= 3


async def test_a_write_that_nobody_waits_for_any_more_is_done_whole_or_not_at_all(
    tmp_path: Path, commits: list[int]
) -> None:
    path = tmp_path / "state.db"
    store = await SqliteStore.open(path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(COMMIT_SECONDS / 3):
            await store.write("/a", b"1", expected=0)
    await store.close()
    store = await SqliteStore.open(path)
    assert await store.read("/a") in (None, Entry("/a", b"1", 1))
    await store.write("/b", b"1", expected=0)
    await store.close()


class Throttle:
    """A cgroup whose processes' disk can be made slow."""

    def __init__(self, folder: Path) -> None:
        device = folder.stat().st_dev
        self._disk = f"{os.major(device)}:{os.minor(device)}"
        self._group = THROTTLES / f"kobune-test-{uuid.uuid4().hex[:8]}"
        self._group.mkdir()
        # Put before a command: the shell enters the group and becomes the command.
        self.inside = ("sh", "-c", f'echo $$ >{self._group}/cgroup.procs && exec "$@"', "sh")

    def set(self, writes_per_second: int) -> None:
        """0: as fast as it is."""
        (self._group / "blkio.throttle.write_iops_device").write_text(f"{self._disk} {writes_per_second}")

    def remove(self) -> None:
        """Once its processes have ended."""
        self._group.rmdir()


@pytest.fixture
def throttle(tmp_path: Path) -> Iterator[Throttle]:
    throttle = Throttle(tmp_path)
    try:
        throttle.set(WRITES_PER_SECOND)
        throttle.set(0)
    except OSError:
        throttle.remove()
        pytest.skip(f"{tmp_path} is on no disk of its own.")
    yield throttle
    throttle.remove()


needs_throttle = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(THROTTLES / "cgroup.procs", os.W_OK),
    reason="Only cgroups of version 1 can slow down the disk of a process.",
)


@needs_throttle
@pytest.mark.slow
async def test_an_api_server_on_a_slow_disk(
    throttle: Throttle,
    tmp_path: Path,
    start_api_server: Callable[..., Any],
    counting: Callable[..., Any],
    report: Callable[[str], None],
) -> None:
    """A disk of ten writes a second, for this process alone: writers wait together, reads do not, and it may be killed."""
    server = start_api_server("--store", f"sqlite:{tmp_path}/state.db", inside=throttle.inside)
    async with counting([server]) as counters:
        fast = await counters.go_on()
        throttle.set(WRITES_PER_SECOND)
        await counters.go_on()
        slow = await counters.go_on()
        assert slow > fast
        longest = 0.0
        for _ in range(50):
            began = time.monotonic()
            answer = await counters.transports[0].request("GET", "/api/v1/namespaces/default/configmaps")
            assert answer.status == 200
            longest = max(longest, time.monotonic() - began)
        assert longest < slow
        server.kill()
        server.start()
        await server.is_back()
        await counters.go_on()
        throttle.set(0)
        await counters.go_on()
        mended = await counters.go_on()
        assert mended < slow
    report(
        f"on a slow disk two writes of each of six clients take {slow:.2f} s instead of {fast:.2f} s,"
        f" and a list {longest:.3f} s at most"
    )


@needs_throttle
@pytest.mark.etcd
@pytest.mark.slow
async def test_a_member_of_etcd_on_a_slow_disk(
    throttle: Throttle,
    start_members: Callable[..., Any],
    start_api_server: Callable[..., Any],
    counting: Callable[..., Any],
    report: Callable[[str], None],
) -> None:
    """Of three one is slow, whether it leads or not: nothing is lost, and work goes on."""
    members = start_members(inside=[throttle.inside, (), ()])
    server = start_api_server(*members.flags)
    async with counting([server]) as counters:
        fast = await counters.go_on()
        throttle.set(WRITES_PER_SECOND)
        slow = [await counters.go_on() for _ in range(3)]
        throttle.set(0)
        await counters.go_on()
    report(
        f"with one member of etcd on a slow disk two writes of each of six clients take {max(slow):.2f} s, not {fast:.2f} s"
    )
