"""Old history and old Events go away, in virtual time."""

import asyncio

import pytest

from kobune.controlplane.store.cache import Cache
from kobune.controlplane.store.contract import Compacted
from kobune.controlplane.store.feed import Feed
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.upkeep import keep_up
from kobune.testing.virtual import VirtualClock, run_virtual


def event(name: str) -> dict[str, object]:
    return {"kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"}}


def test_old_history_and_old_events_go_away() -> None:
    async def story() -> None:
        store, clock = MemoryStore(), VirtualClock()
        feed = Feed(store, clock)

        async def open_events() -> Cache:
            return await feed.open("/registry/events/")

        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(feed.run())
            events = await open_events()
            await events.write("default", "old", event("old"), expected=0)
            again = await events.write("default", "again", event("again"), expected=0)
            keeping = tasks.create_task(keep_up(feed, clock, open_events))
            await clock.sleep(200)
            await events.write("default", "again", event("again"), expected=again.revision)
            assert len((await store.list("/", revision=1)).entries) == 1
            await clock.sleep(200)
            with pytest.raises(Compacted):
                await store.list("/", revision=1)
            await clock.sleep(3100)
            assert [item.name for item in events.list()] == ["again", "old"]
            await clock.sleep(150)
            assert [item.name for item in events.list()] == ["again"]
            await clock.sleep(200)
            assert len(events) == 0
            keeping.cancel()
            feeding.cancel()

    run_virtual(story())
