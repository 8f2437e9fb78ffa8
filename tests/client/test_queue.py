import asyncio

from kobune.client.queue import QueueMetrics, WorkQueue
from kobune.testing.virtual import VirtualClock, run_virtual


async def drain(queue):
    keys = []
    while len(queue):
        key = await queue.get()
        keys.append(key)
        queue.done(key)
    return keys


async def test_a_key_waits_once_however_often_it_is_added():
    queue = WorkQueue(VirtualClock())
    for key in "abab":
        queue.add(key)
    assert await drain(queue) == ["a", "b"]


def test_metrics_tell_of_waiting_work_and_retries():
    async def story():
        clock = VirtualClock()
        metrics = QueueMetrics()
        queues = [WorkQueue(clock, name="a", metrics=metrics) for _ in range(2)]
        for queue in queues:
            queue.add("x")
            queue.add("x")
            queue.add("y")
        await clock.sleep(3)
        key = await queues[0].get()
        await clock.sleep(2)
        now = metrics.render()
        queues[0].done(key)
        queues[0].retry(key)
        return now, metrics.render()

    now, later = run_virtual(story())
    for line in (
        'workqueue_depth{name="a"} 3',
        'workqueue_adds_total{name="a"} 4',
        'workqueue_retries_total{name="a"} 0',
        'workqueue_queue_duration_seconds_sum{name="a"} 3',
        'workqueue_unfinished_work_seconds{name="a"} 2',
        'workqueue_longest_running_processor_seconds{name="a"} 2',
    ):
        assert f"{line}\n" in now
    assert 'workqueue_retries_total{name="a"} 1\n' in later
    assert 'workqueue_work_duration_seconds_sum{name="a"} 2\n' in later


async def test_a_key_added_while_in_work_comes_again_afterwards():
    queue = WorkQueue(VirtualClock())
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert await drain(queue) == ["a"]
    assert queue.is_idle


def test_retries_start_at_5_ms_and_double_up_to_1000_s():
    async def story():
        queue = WorkQueue(VirtualClock())
        delays = [queue.retry("a") for _ in range(2000)]
        assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
        assert max(delays) == delays[-1] == 1000.0
        queue.forget("a")
        assert queue.retry("a") == 0.005

    run_virtual(story())


def test_delayed_keys_come_when_due_and_the_shortest_delay_counts():
    async def story():
        clock = VirtualClock()
        queue = WorkQueue(clock)
        seen = []

        async def handle(key):
            seen.append((key, round(clock.monotonic(), 3)))

        async def add():
            queue.add_after("slow", 60)
            queue.add_after("fast", 5)
            queue.add_after("slow", 30)
            queue.add_after("slow", 90)
            await clock.sleep(10)
            queue.add_after("late", 1)
            await clock.sleep(1000)
            task.cancel()

        task = asyncio.ensure_future(queue.run(handle, workers=2))
        await add()
        await asyncio.gather(task, return_exceptions=True)
        return seen

    assert run_virtual(story()) == [("fast", 5), ("late", 11), ("slow", 30)]


def test_what_fails_is_retried_and_what_asks_for_it_comes_again():
    async def story():
        clock = VirtualClock()
        queue = WorkQueue(clock)
        seen = []

        async def handle(key):
            seen.append(round(clock.monotonic(), 3))
            if len(seen) < 3:
                raise ValueError(key)
            return 10 if len(seen) == 3 else None

        queue.add("a")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(queue.run(handle, workers=1))
            await clock.sleep(100)
            task.cancel()
        return seen, queue.failures("a")

    assert run_virtual(story()) == ([0, 0.005, 0.015, 10.015], 0)


def test_no_key_is_worked_on_twice_at_once():
    async def story():
        clock = VirtualClock()
        queue = WorkQueue(clock)
        running, most = {"a": 0, "b": 0}, {"a": 0, "b": 0}

        async def handle(key):
            running[key] += 1
            most[key] = max(most[key], running[key])
            await clock.sleep(1)
            running[key] -= 1

        async with asyncio.TaskGroup() as group:
            task = group.create_task(queue.run(handle, workers=4))
            for _ in range(50):
                queue.add("a")
                queue.add("b")
                await clock.sleep(0.3)
            task.cancel()
        return most

    assert run_virtual(story()) == {"a": 1, "b": 1}
