"""A process that writes is killed at random moments, again and again on the same store, with either engine."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from kobune.controlplane.store.contract import Change, Store
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.host.etcd_members import answering

# Ten writers, each with keys of its own, say on standard output what has been acknowledged.
WRITERS = """
import asyncio, json, os, random, sys

async def open_store(place):
    if not place.startswith("http"):
        from kobune.controlplane.store.sqlite import SqliteStore
        return await SqliteStore.open(place)
    from kobune.controlplane.store.etcd import EtcdStore
    endpoint, _, root = place.partition("#")
    return EtcdStore([endpoint], root=root)

def say(**what):
    os.write(1, json.dumps(what).encode() + b"\\n")

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

async def main():
    store = await open_store(sys.argv[1])
    if sys.argv[1].startswith("http"):
        # An etcd on a busy machine may take its time.
        from kobune.host.etcd_members import answering
        await answering(store)
    say(opened=await store.revision())
    async with asyncio.TaskGroup() as tasks:
        for worker in range(10):
            tasks.create_task(write(store, worker, int(sys.argv[2])))
        if int(sys.argv[2]) % 3 == 0:
            tasks.create_task(store.compact(await store.revision()))

asyncio.run(main())
"""


ROUNDS = pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])


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
    for number in range(rounds):
        said = await asyncio.to_thread(killed_while_writing, place, number, dice.uniform(0.0, 0.4))
        opened, writes = said[0]["opened"], said[1:]
        assert opened >= newest
        newest = max([opened, *(write["revision"] for write in writes)])
        acknowledged += len(writes)
        newest = await check(place, opened, writes, newest)
    assert acknowledged > rounds


def killed_while_writing(place: str, number: int, seconds: float) -> list[dict[str, Any]]:
    """What the writers said until they were killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, place, str(number)], stdout=subprocess.PIPE, process_group=0, bufsize=0
    ) as writers:
        assert writers.stdout is not None
        # Unbuffered: what a buffer has read ahead, communicate would not see.
        first = writers.stdout.readline()
        os.set_blocking(writers.stdout.fileno(), True)
        try:
            rest, _ = writers.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            writers.send_signal(signal.SIGKILL)
            rest, _ = writers.communicate()
    lines = (first + rest).split(b"\n")
    return [json.loads(line) for line in lines[:-1]]  # The last one may be cut.


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
