"""What takes too long is ended, each in its turn, and nobody's cancellation is taken for another's."""

import asyncio

import pytest

from kobune.api.errors import Timeout
from kobune.controlplane.apiserver.deadlines import Deadlines


async def test_each_request_has_its_own_time():
    deadlines = Deadlines(0.1)

    async def ask(seconds):
        with deadlines:
            await asyncio.sleep(seconds)
            return "answered"

    slow = asyncio.create_task(ask(60))
    await asyncio.sleep(0.05)
    slower = asyncio.create_task(ask(60))
    assert await ask(0) == "answered"
    for task in (slow, slower):
        with pytest.raises(Timeout, match="request did not complete within the allotted timeout"):
            await task
        assert not task.cancelling()


async def test_a_task_may_ask_again_after_it_was_too_slow():
    deadlines = Deadlines(0.01)
    for _ in range(2):
        with pytest.raises(Timeout), deadlines:
            await asyncio.sleep(60)
    with deadlines:
        pass


async def test_who_is_cancelled_for_another_reason_is_cancelled():
    deadlines = Deadlines(60)

    async def ask():
        with deadlines:
            await asyncio.sleep(60)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_answer_in_the_last_moment_is_an_answer():
    deadlines = Deadlines(0.01)
    with deadlines, pytest.raises(asyncio.CancelledError):  # It is finished all the same.
        await asyncio.sleep(60)
    assert not asyncio.current_task().cancelling()
