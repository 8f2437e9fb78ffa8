"""A process that writes is killed at random moments, again and again on the same store, with either engine."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from kobune.controlplane.store.contract import Change, Store
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.host.etcd_members import answering

# For each line of standard input ten writers, each with keys of its own, in a process of their own; they say on standard
# output what has been acknowledged. The processes are forked, so that an interpreter starts and imports but once.
WRITERS = """
import asyncio, json, os, random, sys
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.controlplane.store.etcd import EtcdStore
from kobune.host.etcd_members import answering

def say(**what):
    os.write(1, json.dumps(what).encode() + b"\\n")  # So short a line is written whole or not at all.

async def write(store, worker, seed):
    dice, key, durable = random.Random(seed * 100 + worker), f"/{worker}", worker < 8
    entry = await store.read(key)
    revision, number = (entry.revision, int(entry.value.split()[0])) if entry else (0, seed * 1_000_000)
    while True:
        number += 1
        if revision and dice.random() < 0.1:
            revision = await store.delete(key, expected=revision)
            say(key=key, number=None, revision=revision, durable=True)
            revision = 0
        else:
            value = b"%d %b" % (number, b"x" * dice.randrange(3000))
            revision = await store.write(key, value, expected=revision, durable=durable)
            say(key=key, number=number, revision=revision, durable=durable)

async def main(place, seed):
    endpoint, _, root = place.partition("#")
    store = EtcdStore([endpoint], root=root) if root else await SqliteStore.open(place)
    await answering(store)  # An etcd on a busy machine may take its time.
    opened = await store.revision()
    say(opened=opened)
    async with asyncio.TaskGroup() as tasks:
        for worker in range(10):
            tasks.create_task(write(store, worker, seed))
        if seed % 3 == 0:
            tasks.create_task(store.compact(opened))

for seed in iter(sys.stdin.readline, ""):
    child = os.fork()
    if child == 0:
        say(pid=os.getpid())
        asyncio.run(main(sys.argv[1], int(seed)))
    _, status = os.waitpid(child, 0)
    say(ended=status)
"""


ROUNDS = pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])


@ROUNDS
async def test_sqlite(tmp_path: Path, rounds: int) -> None:
    await play(str(tmp_path / "state.db"), rounds)


@pytest.mark.etcd
@ROUNDS
async def test_etcd(etcd: str, rounds: int) -> None:
    await play(f"{etcd}#/{uuid.uuid4()}", rounds)


async def play(place: str, rounds: int) -> None:
    """No acknowledged write is lost, none is doubled, and revisions never go back."""
    dice = random.Random(rounds)
    newest = acknowledged = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writers:
        for number in range(rounds):
            opened, writes = await asyncio.to_thread(killed_while_writing, writers, number, dice.uniform(0.0, 0.4))
            # Killed before it could say so, it may have opened the store nevertheless.
            assert opened is None or opened >= newest
            acknowledged += len(writes)
            since = newest if opened is None else opened
            newest = max([since, *(write["revision"] for write in writes)])
            newest = await check(place, since, writes, newest)
        assert writers.stdin is not None
        writers.stdin.close()
    assert acknowledged > rounds


def killed_while_writing(
    writers: subprocess.Popen[bytes], number: int, seconds: float
) -> tuple[int | None, list[dict[str, Any]]]:
    """The revision that writers found, if they came that far, and what they wrote until they were killed.

    They are killed so long after they opened the store, and every tenth time after they began to.
    """
    assert writers.stdin is not None
    assert writers.stdout is not None
    writers.stdin.write(b"%d\n" % number)
    writers.stdin.flush()
    opened, writes = None, []
    for said in map(json.loads, writers.stdout):
        if "pid" in said:
            killing = threading.Timer(seconds, os.kill, (said["pid"], signal.SIGKILL))
            if number % 10 == 9:
                killing.start()
        elif "opened" in said:
            opened = said["opened"]
            if number % 10 != 9:
                killing.start()
        elif "ended" in said:
            killing.cancel()
            assert said["ended"] == signal.SIGKILL
            break
        else:
            writes.append(said)
    return opened, writes


async def open_store(place: str) -> Store:
    endpoint, _, root = place.partition("#")
    return EtcdStore([endpoint], root=root) if root else await SqliteStore.open(Path(place))


async def check(place: str, opened: int, writes: list[dict[str, Any]], newest: int) -> int:
    """What the writers were told is there, and nothing was written twice; the newest revision."""
    store = await open_store(place)
    try:
        await answering(store)
        assert await store.revision() >= newest
        revisions = [write["revision"] for write in writes]
        assert len(set(revisions)) == len(revisions)
        changes = await history(store, opened)
        assert [change.revision for change in changes] == sorted({change.revision for change in changes})
        latest = {change.key: change for change in changes}
        for change in latest.values():
            entry = await store.read(change.key)
            assert (entry.value, entry.revision) == change[1:] if entry else change.value is None
        for write in writes:
            if write["durable"]:
                # What is there was acknowledged last, or was under way after that.
                change = latest[write["key"]]
                assert change.revision >= write["revision"]
                if change.revision == write["revision"]:
                    assert (int(change.value.split()[0]) if change.value else None) == write["number"]
        on_disk = {change.revision for change in changes}
        assert on_disk >= {write["revision"] for write in writes if write["durable"]}
        return await store.revision()
    finally:
        await store.close()


async def history(store: Store, after: int) -> list[Change]:
    """Every change since `after`, as a watch shows them."""
    end = await store.write("/end", b"", expected=None)
    changes: list[Change] = []
    async for batch in store.watch("/", after=after):
        changes += batch
        if changes[-1].revision >= end:
            return changes
    raise AssertionError
