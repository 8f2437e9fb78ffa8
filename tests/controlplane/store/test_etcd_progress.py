"""Clusters that share one etcd, each under a prefix of its own: what one writes moves the revision that the other waits for."""

import asyncio
import contextlib
import uuid

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.store import etcd_progress
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.etcd_progress import is_reliable
from kobune.controlplane.store.feed import Feed


@pytest.mark.parametrize(
    ("version", "reliable"),
    [
        ("3.4.23", False),
        ("3.4.31", True),
        ("3.5.0", False),
        ("3.5.12", False),
        ("3.5.13", True),
        ("3.6.5", True),
        ("3.6.0-rc.2", True),
        ("", False),
    ],
)
def test_members_are_asked_from_the_versions_on_that_answer_in_order(version, reliable):
    assert is_reliable(version) is reliable


@contextlib.asynccontextmanager
async def fed(store):
    feed = Feed(store, SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(feed.run())
        yield feed
        running.cancel()
    await store.close()


@pytest.mark.etcd
@pytest.mark.parametrize("asked", [True, False], ids=["members are asked", "older members"])
async def test_a_read_is_consistent_while_only_others_write(etcd, asked, monkeypatch):
    monkeypatch.setattr(etcd_progress, "is_reliable", lambda version: asked)
    mine = EtcdStore([etcd], root=f"/{uuid.uuid4()}", begins_after=1000)
    others = EtcdStore([etcd], root=f"/{uuid.uuid4()}")
    async with asyncio.timeout(60), fed(mine) as feed:
        cache = await feed.open("/registry/pods/")
        await cache.write("default", "a", {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}, expected=0)
        for number in range(3):
            revision = await others.write(f"/registry/pods/default/{number}", b"{}", expected=0)
            await asyncio.gather(*(feed.caught_up() for _ in range(5)))
            assert feed.revision >= revision + 1000
        # A cache that is opened waits for the revision of its list, which is another's too.
        await feed.open("/registry/secrets/")
        assert [item.name for item in cache.list()] == ["a"]
        assert [entry.key for entry in (await mine.list("")).entries] == ["/registry/pods/default/a"]
    await others.close()
