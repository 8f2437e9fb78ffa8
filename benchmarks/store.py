"""How fast is a store? Prints one JSON line per question and engine.

Usage: python benchmarks/store.py [--engine memory|sqlite] [--objects 100000]
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from kobune.api.clock import SystemClock
from kobune.api.errors import Json
from kobune.controlplane.store.cache import Cache
from kobune.controlplane.store.contract import Store
from kobune.controlplane.store.encoding import encode
from kobune.controlplane.store.feed import Feed
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.snapshot import restore_file, save_file
from kobune.controlplane.store.sqlite import SqliteStore

SECONDS = 2.0
SELECTABLE = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
)


def say(bench: str, engine: str, **figures: float) -> None:
    print(
        json.dumps({"bench": bench, "engine": engine, **{name: round(value, 3) for name, value in figures.items()}}),
        flush=True,
    )


def pod(number: int) -> Json:
    """About 2 KB."""
    metadata = {
        "name": f"web-{number:06}",
        "namespace": "default",
        "uid": f"{number:032x}",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": {"app": "web", "pod-template-hash": "5d4f8b7c9", "tier": "front"},
    }
    env = [{"name": f"VARIABLE_{index}", "value": "x" * 60} for index in range(14)]
    container = {"name": "main", "image": "kobune.local/busybox", "command": ["sleep", "1000"], "env": env}
    spec = {"nodeName": f"node-{number % 100}", "restartPolicy": "Always", "containers": [container]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Running", "podIP": f"10.0.{number >> 8}.{number & 255}"},
    }


def key(number: int) -> str:
    return f"/registry/pods/default/web-{number:06}"


@asynccontextmanager
async def opened(engine: str, folder: Path) -> AsyncIterator[Store]:
    store: Store = MemoryStore() if engine == "memory" else await SqliteStore.open(folder / "state.db")
    try:
        yield store
    finally:
        await store.close()


async def writes(engine: str, store: Store, writers: int, durable: bool) -> None:
    """Writers that each wait for their last write before the next one."""
    value, latencies = encode(pod(1)), list[float]()
    end = time.perf_counter() + SECONDS

    async def write(worker: int) -> None:
        name, revision = f"/registry/pods/w{writers}{durable}/{worker}", 0
        while (start := time.perf_counter()) < end:
            revision = await store.write(name, value, expected=revision, durable=durable)
            latencies.append(time.perf_counter() - start)

    async with asyncio.TaskGroup() as tasks:
        for worker in range(writers):
            tasks.create_task(write(worker))
    say(
        "durable writes" if durable else "writes",
        engine,
        writers=writers,
        per_second=len(latencies) / SECONDS,
        p50_ms=statistics.median(latencies) * 1e3,
        p99_ms=statistics.quantiles(latencies, n=100)[98] * 1e3,
        max_ms=max(latencies) * 1e3,
    )


async def compaction(engine: str, store: Store) -> None:
    """One writer beside the compaction of everything that the other benchmarks wrote."""
    value, latencies, revision = encode(pod(1)), list[float](), 0
    begun = time.perf_counter()
    compacting = asyncio.ensure_future(store.compact(await store.revision()))
    while not compacting.done():
        start = time.perf_counter()
        revision = await store.write("/registry/pods/compaction/a", value, expected=revision)
        latencies.append(time.perf_counter() - start)
    await compacting
    if len(latencies) > 1:
        say(
            "write while compacting",
            engine,
            seconds=time.perf_counter() - begun,
            p50_ms=statistics.median(latencies) * 1e3,
            max_ms=max(latencies) * 1e3,
        )


@asynccontextmanager
async def caching(store: Store) -> AsyncIterator[Cache]:
    feed = Feed(store, SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(feed.run())
        yield await feed.open("/registry/pods/", selectable=SELECTABLE, indexed=("spec.nodeName",))
        running.cancel()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def objects(engine: str, folder: Path, count: int) -> None:
    """Write many objects through the cache, then start from what is on disk."""
    async with opened(engine, folder) as store:
        before = resident_bytes()
        async with caching(store) as cache:
            start = time.perf_counter()
            for first in range(0, count, 500):
                await asyncio.gather(
                    *(
                        cache.write("default", f"web-{number:06}", pod(number), expected=0)
                        for number in range(first, first + 500)
                    )
                )
            seconds = time.perf_counter() - start
            say(
                "write through the cache",
                engine,
                objects=count,
                per_second=count / seconds,
                bytes_per_object=(resident_bytes() - before) / count,
            )
            start = time.perf_counter()
            body = b",".join([item.body for item in cache.list()])
            say(
                "list",
                engine,
                objects=count,
                bytes=len(body),
                mb_per_second=len(body) / 1e6 / (time.perf_counter() - start),
            )
    if engine == "memory":
        return
    start = time.perf_counter()
    async with opened(engine, folder) as store:
        opened_at = time.perf_counter()
        async with caching(store) as cache:
            say(
                "start",
                engine,
                objects=len(cache),
                open_seconds=opened_at - start,
                load_seconds=time.perf_counter() - opened_at,
            )
    start = time.perf_counter()
    save_file(folder / "state.db", folder / "snapshot")
    saved = time.perf_counter()
    restore_file(folder / "snapshot", folder / "restored.db")
    restored = time.perf_counter()
    store = await SqliteStore.open(folder / "restored.db")
    opened_at = time.perf_counter()
    await store.close()
    say(
        "snapshot",
        engine,
        objects=count,
        save_seconds=saved - start,
        restore_seconds=restored - saved,
        open_seconds=opened_at - restored,
        megabytes=(folder / "snapshot").stat().st_size / 1e6,
    )


async def upkeep(engine: str, folder: Path, count: int) -> None:
    """The longest answers while every object is replaced, which means checkpoints, and while what was replaced is compacted."""
    async with opened(engine, folder) as store:
        value = encode(pod(1))
        revisions = {entry.key: entry.revision for entry in (await store.list("/registry/pods/")).entries}
        shares = [list(revisions)[worker::16] for worker in range(16)]

        async def replace(keys: Sequence[str]) -> None:
            for one in keys:
                await store.write(one, value, expected=revisions[one])

        async def replace_all() -> None:
            await asyncio.gather(*map(replace, shares))

        async def compact() -> None:
            await store.compact(await store.revision())

        for doing, work in (("replace", replace_all), ("compact", compact)):
            begun = time.perf_counter()
            working = asyncio.ensure_future(work())
            longest = {"write": 0.0, "read": 0.0, "loop": 0.0}
            while not working.done():
                for what, answer in (
                    ("write", lambda: store.write("/registry/pods/upkeep/a", value, expected=None)),
                    ("read", lambda: store.read(shares[0][0])),
                    ("loop", lambda: asyncio.sleep(0)),
                ):
                    start = time.perf_counter()
                    await answer()
                    longest[what] = max(longest[what], time.perf_counter() - start)
            await working
            say(
                f"longest answers while: {doing}",
                engine,
                objects=count,
                seconds=time.perf_counter() - begun,
                **{f"{what}_ms": seconds * 1e3 for what, seconds in longest.items()},
            )


async def watching(watchers: int, per_second: int) -> None:
    """Frames handed to watchers that all want everything; how much of one core that takes."""
    async with caching(MemoryStore()) as cache:
        total = int(per_second * SECONDS)
        received, done = 0, asyncio.Event()

        async def read() -> None:
            nonlocal received
            with cache.watch() as watcher:
                async for frames in watcher:
                    received += len(frames)
                    if received == total * watchers:
                        done.set()

        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read()) for _ in range(watchers)]
            busy = time.process_time()
            begun = time.perf_counter()
            for number in range(0, total, 10):
                await asyncio.gather(
                    *(
                        cache.write("default", f"web-{number + each:06}", pod(number + each), expected=0)
                        for each in range(10)
                    )
                )
                await asyncio.sleep(max(0, begun + number / per_second - time.perf_counter()))
            await done.wait()
            seconds = time.perf_counter() - begun
            say(
                "watch",
                "memory",
                watchers=watchers,
                events_per_second=total / seconds,
                frames_per_second=received / seconds,
                core=(time.process_time() - busy) / seconds,
            )
            for reader in readers:
                reader.cancel()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("memory", "sqlite"), action="append")
    parser.add_argument("--objects", type=int, default=100_000)
    options = parser.parse_args()
    for engine in options.engine or ("memory", "sqlite"):
        with tempfile.TemporaryDirectory() as folder:
            async with opened(engine, Path(folder)) as store:
                for writers, durable in ((1, True), (16, True), (256, True), (1, False), (16, False)):
                    await writes(engine, store, writers, durable)
                await compaction(engine, store)
        with tempfile.TemporaryDirectory() as folder:
            await objects(engine, Path(folder), options.objects)
            if engine != "memory":
                await upkeep(engine, Path(folder), options.objects)
    await watching(50, 2000)


if __name__ == "__main__":
    uvloop.run(main())
