"""The network between an API server and its etcd is cut: reads of what is known go on, writes fail in time, all recovers."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.store.contract import Unavailable
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.etcd_member import member_command
from kobune.controlplane.store.feed import Feed

pytestmark = [pytest.mark.real, pytest.mark.etcd, pytest.mark.slow]

NAMESPACE, OUTER, INNER = "kobune-cut", "kbcut0", "kbcut1"
HERE, THERE = "10.253.77.1", "10.253.77.2"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def far_etcd(tmp_path: Path) -> Iterator[str]:
    """The endpoint of an etcd behind a link of its own."""
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", OUTER, "type", "veth", "peer", "name", INNER, "netns", NAMESPACE)
        ip("address", "add", f"{HERE}/30", "dev", OUTER)
        ip("-n", NAMESPACE, "address", "add", f"{THERE}/30", "dev", INNER)
        ip("-n", NAMESPACE, "link", "set", INNER, "up")
        ip("-n", NAMESPACE, "link", "set", "lo", "up")
        ip("link", "set", OUTER, "up")
        command = member_command("one", tmp_path / "etcd", client=f"{THERE}:2379", peers={"one": "127.0.0.1:2380"})
        with subprocess.Popen(["ip", "netns", "exec", NAMESPACE, *command], stderr=subprocess.DEVNULL) as process:
            yield f"http://{THERE}:2379"
            process.kill()
    finally:
        ip("netns", "del", NAMESPACE)


async def test_a_cut_network(far_etcd: str) -> None:
    store = EtcdStore([far_etcd])
    feed = Feed(store, SystemClock())
    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed.run())
        cache = await feed.open("/registry/configmaps/")
        await cache.write("default", "a", config_map("a"), expected=0)
        watcher = cache.watch(after=cache.revision)

        ip("link", "set", OUTER, "down")
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await cache.write("default", "b", config_map("b"), expected=0)
        assert time.monotonic() - begun < 20
        assert cache.get("default", "a") is not None

        ip("link", "set", OUTER, "up")
        begun = time.monotonic()
        while True:
            try:
                current = await store.read(cache.key("default", "b"))
                item = await cache.write("default", "b", config_map("b"), expected=current.revision if current else 0)
                break
            except Unavailable:
                continue
        assert time.monotonic() - begun < 20
        await feed.caught_up()
        assert [item.name for item in cache.list()] == ["a", "b"]
        frames = list(watcher.take())
        # Twice when the write that failed was done nevertheless; whoever watches has missed nothing.
        assert len(frames) == (2 if current else 1)
        assert f'"resourceVersion":"{item.revision}"'.encode() in frames[-1]
        feeding.cancel()
    await store.close()


def config_map(name: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"}}
