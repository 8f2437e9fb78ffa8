"""Closing a store ends what is under way, at once and for good: other event loops of the process hear nothing of it."""

import asyncio
import logging
from contextlib import aclosing

import pytest

from kobune.controlplane.store.contract import Closed
from kobune.controlplane.store.etcd import EtcdStore

pytestmark = pytest.mark.etcd

PAUSES = [0.0, 0.0003, 0.001, 0.003, 0.01]  # A watch is then about to begin, or has begun, or has been going on.
WATCHES = 5


async def first_of(store: EtcdStore, after: int) -> object:
    async with aclosing(store.watch("/", after=after)) as batches:
        return await anext(batches)


async def use(endpoint: str, pause: float) -> None:
    """Be one of several who use stores in this process, each with an event loop of its own."""
    async with asyncio.timeout(20):
        store = EtcdStore([endpoint], root="/test-etcd-calls")
        revision = await store.revision()
        watches = [asyncio.create_task(first_of(store, revision)) for _ in range(WATCHES)]
        gives_up = asyncio.create_task(first_of(store, revision))
        reading = asyncio.create_task(store.read("/a"))
        await asyncio.sleep(pause)
        gives_up.cancel()
        await store.close()
        with pytest.raises(asyncio.CancelledError):
            await gives_up
        for watch in watches:
            with pytest.raises(Closed):
                await watch
        ended = (await asyncio.gather(reading, return_exceptions=True))[0]
        assert ended is None or isinstance(ended, Closed), repr(ended)


@pytest.mark.parametrize("pause", PAUSES)
def test_stores_of_one_event_loop_after_the_other_hear_nothing_of_those_before(
    etcd: str, pause: float, caplog: pytest.LogCaptureFixture
):
    for _ in range(10):
        asyncio.run(use(etcd, pause))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_call_that_is_cancelled_with_its_task_stays_cancelled(etcd: str):
    store = EtcdStore([etcd])
    reading = asyncio.create_task(store.read("/a"))
    await asyncio.sleep(0)
    reading.cancel()
    await store.close()
    with pytest.raises(asyncio.CancelledError):
        await reading
