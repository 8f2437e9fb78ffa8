"""The queue: order, back-off, parking and gates. Source: upstream scheduling queue; Kubernetes documentation, Pod Scheduling
Readiness."""

import pytest

from kobune.controlplane.scheduler.events import POD, Action, ClusterEvent
from kobune.controlplane.scheduler.queue import SchedulingQueue


class HandClock:
    """Time that a test moves on."""

    def __init__(self):
        self.time = 1000.0

    def now(self):
        raise AssertionError("the queue does not look at the wall clock")

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        raise AssertionError("the queue does not wait")


class World:
    """A queue whose gates and hints a test sets."""

    def __init__(self):
        self.clock = HandClock()
        self.closed, self.helpful, self.asked = set(), set(), 0
        self.queue = SchedulingQueue(self.clock, gate=self._gate, helps=self._helps)

    def _gate(self, pod):
        return "SchedulingGates" if pod.uid in self.closed else ""

    def _helps(self, plugin, event, pod):
        self.asked += 1
        return plugin in self.helpful

    def pop(self):
        queued = self.queue.pop()
        return queued and queued.pod.name

    def refuse(self, *plugins):
        """Try the next pod and find no node for it."""
        queued = self.queue.pop()
        self.queue.refused(queued, frozenset(plugins))
        return queued


@pytest.fixture
def world():
    return World()


EVENT = ClusterEvent("Node", Action.ADD)


def test_higher_priority_goes_first_and_then_who_came_first(build, world):
    for name, priority in (("a", 0), ("b", 5), ("c", 5), ("d", 0)):
        world.queue.add(build.info(name=name, priority=priority))
        world.clock.time += 1
    assert [world.pop() for _ in range(5)] == ["b", "c", "a", "d", None]


def test_a_refused_pod_is_parked_until_an_event_helps_what_its_plugins_said(build, world):
    world.queue.add(build.info(name="a"))
    world.refuse("NodeAffinity")
    world.clock.time += 60
    world.queue.happened(EVENT)
    assert world.pop() is None
    world.helpful = {"NodeAffinity"}
    world.queue.happened(EVENT)
    assert world.pop() == "a"


def test_an_event_is_judged_once_for_all_identical_pods(build, world):
    for _ in range(100):
        world.queue.add(build.info(requests={"cpu": "1"}))
    for _ in range(100):
        world.refuse("NodeResourcesFit")
    world.queue.happened(EVENT)
    assert world.asked == 1


@pytest.mark.parametrize(("refusals", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (9, 10)])
def test_the_back_off_doubles_from_one_second_to_ten(build, world, refusals, seconds):
    world.helpful = {"X"}
    world.queue.add(build.info())
    for _ in range(refusals):
        queued = world.refuse("X")
        world.queue.happened(EVENT)  # Requeued: popped early next round, as nothing else is ready.
    assert queued.backoff_until - world.clock.time == seconds


def test_a_pod_that_backs_off_waits_while_others_are_ready(build, world):
    world.helpful = {"X"}
    world.queue.add(build.info(name="a", priority=9))
    world.refuse("X")
    world.queue.happened(EVENT)
    world.queue.add(build.info(name="b"))
    assert (world.queue.counts["backoff"], world.pop(), world.pop()) == (1, "b", "a")


def test_after_its_back_off_it_is_ready_by_priority(build, world):
    world.helpful = {"X"}
    world.queue.add(build.info(name="a", priority=9))
    world.refuse("X")
    world.queue.happened(EVENT)
    world.queue.add(build.info(name="b"))
    world.clock.time += 1
    world.queue.tick()
    assert [world.pop(), world.pop()] == ["a", "b"]


def test_after_an_error_a_pod_is_never_tried_early(build, world):
    world.queue.add(build.info(name="a"))
    world.queue.failed(world.queue.pop())
    assert world.pop() is None
    world.clock.time += 1
    world.queue.tick()
    assert world.pop() == "a"


def test_nobody_stays_parked_for_more_than_five_minutes(build, world):
    world.queue.add(build.info(name="a"))
    world.refuse("X")
    world.clock.time += 299
    world.queue.tick()
    assert world.pop() is None
    world.clock.time += 31
    world.queue.tick()
    assert world.pop() == "a"


def test_a_gated_pod_is_not_tried_and_no_event_asks_after_it(build, world):
    pod = build.info(name="a")
    world.closed = {pod.uid}
    world.queue.add(pod)
    world.queue.happened(EVENT)
    assert (world.pop(), world.asked, world.queue.counts["gated"]) == (None, 0, 1)
    world.closed = set()
    world.queue.update(pod, ClusterEvent(POD, Action.UPDATE | Action.GATES_GONE, pod, pod))
    assert world.pop() == "a"


def test_an_update_of_a_parked_pod_counts_only_if_it_may_help(build, world):
    pod = build.info(name="a")
    world.queue.add(pod)
    world.refuse("X")
    world.clock.time += 60
    event = ClusterEvent(POD, Action.UPDATE, pod, pod)
    world.queue.update(pod, event)
    assert world.pop() is None
    world.helpful = {"X"}
    world.queue.update(pod, event)
    assert world.pop() == "a"


def test_a_pod_deleted_while_it_is_tried_does_not_come_back(build, world):
    pod = build.info()
    world.queue.add(pod)
    queued = world.queue.pop()
    world.queue.remove(pod.uid)
    world.queue.refused(queued, frozenset({"X"}))
    world.queue.failed(queued)
    assert pod.uid not in world.queue
    assert not any(world.queue.counts.values())


def test_an_opened_gate_lets_a_refused_pod_wait_for_its_event_or_try_at_once(build, world):
    for retry, expected in ((False, None), (True, "a")):
        pod = build.info(name="a")
        world.queue.add(pod)
        queued = world.queue.pop()
        world.closed = {pod.uid}
        world.queue.refused(queued, frozenset({"X"}))
        world.closed = set()
        world.queue.release(pod.uid, retry=retry)
        assert world.pop() == expected
        world.queue.remove(pod.uid)


def test_counts_add_up_whatever_happens(build, world):
    world.helpful = {"X"}
    for index in range(20):
        world.queue.add(build.info(priority=index % 3))
    for index in range(20):
        queued = world.queue.pop()
        if index % 3 == 0:
            world.queue.refused(queued, frozenset({"X" if index % 2 else "Y"}))
        elif index % 3 == 1:
            world.queue.failed(queued)
        else:
            world.queue.done(queued.pod.uid)
    world.queue.happened(EVENT)
    waiting = [queued.place for queued in world.queue.pods()]
    assert {place: waiting.count(place) for place in world.queue.counts} == world.queue.counts


def test_each_arrival_is_counted_with_its_reason(build, world):
    arrivals = []
    world.queue.on_incoming = lambda queue, event: arrivals.append((queue, event))
    world.queue.add(build.info(name="a"))
    world.refuse("NodeResourcesFit")
    world.helpful = {"NodeResourcesFit"}
    world.queue.happened(EVENT)
    world.clock.time += 1.5
    world.queue.tick()
    assert arrivals == [
        ("active", "UnschedulablePodAdd"),
        ("unschedulable", "ScheduleAttemptFailure"),
        ("backoff", "NodeAdd"),
        ("active", "BackoffComplete"),
    ]


def test_a_pod_that_no_plugin_refused_waits_out_its_pause(build, world):
    """In a cluster without nodes nobody is there to refuse it; trying it again at once would never end."""
    world.queue.add(build.info(name="alone"))
    world.refuse()
    assert world.pop() is None
    world.queue.happened(EVENT)
    world.clock.time += 0.9
    world.queue.tick()
    assert world.pop() is None
    world.clock.time += 0.2
    world.queue.tick()
    assert world.pop() == "alone"
