import asyncio
import random

import orjson
import pytest

from kobune.api.errors import ServiceUnavailable, conflict, not_found, status_of
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.leases import LeaderElection, LeadershipLost
from kobune.client.transport import Answer
from kobune.testing.virtual import VirtualClock, run_virtual

KEY = Key("kube-system", "kube-scheduler")


class OneLease:
    """An API server's promise for one object: a stale resourceVersion is refused. It can be cut off."""

    def __init__(self):
        self.object, self.revision = None, 0

    def way(self):
        return Way(self)

    def handle(self, method, body):
        if method == "GET" and self.object is None:
            return 404, status_of(not_found("leases", KEY.name))
        # Patching is not among what the roles of upstream's components allow.
        assert method in ("GET", "POST", "PUT")
        if method == "PUT" and body["metadata"].get("resourceVersion") != str(self.revision):
            return 409, status_of(conflict("leases", KEY.name, "stale"))
        if method in ("POST", "PUT"):
            self.revision += 1
            body["metadata"] = {**body["metadata"], "resourceVersion": str(self.revision)}
            self.object = body
        return 200, self.object


class Way:
    def __init__(self, server):
        self.server, self.cut = server, False

    async def request(self, method, path, *, query=None, body=b"", content_type="", accept=""):
        await asyncio.sleep(0.01)
        if self.cut:
            raise ServiceUnavailable("cut off")
        status, answer = self.server.handle(method, orjson.loads(body) if body else {})
        return Answer(status, orjson.dumps(answer), {})


def candidate(server, name, seed):
    way = server.way()
    election = LeaderElection(Client(way), KEY, name, clock=VirtualClock(), rng=random.Random(seed))
    return election, way


def test_of_two_candidates_one_leads_and_the_other_follows_when_it_leaves():
    async def story():
        clock, server, log = VirtualClock(), OneLease(), []

        async def lead(name, seed, seconds):
            election, _ = candidate(server, name, seed)

            async def work():
                log.append((name, "begins", clock.monotonic()))
                await clock.sleep(seconds)
                log.append((name, "ends", clock.monotonic()))

            await election.lead(work)

        async with asyncio.TaskGroup() as group:
            group.create_task(lead("a", 1, 60))
            await clock.sleep(0.1)
            group.create_task(lead("b", 2, 10))
        return log, server.object["spec"]

    log, spec = run_virtual(story())
    assert [entry[:2] for entry in log] == [("a", "begins"), ("a", "ends"), ("b", "begins"), ("b", "ends")]
    assert log[2][2] - log[1][2] < 5  # Released, so there is no waiting for the lease to run out.
    assert spec["holderIdentity"] == ""
    assert spec["leaseTransitions"] == 1


def test_a_leader_that_neither_renews_nor_stops_is_overdue():
    async def story():
        clock, server, seen = VirtualClock(), OneLease(), []
        election, _ = candidate(server, "a", 1)

        async def work():
            seen.append(election.is_overdue)
            await clock.sleep(60)
            seen.append(election.is_overdue)
            asyncio.get_running_loop()._selector_of_time.now += 40  # The process was asleep, with all its timers.
            seen.append(election.is_overdue)

        await election.lead(work)
        return [*seen, election.is_overdue]

    assert run_virtual(story()) == [False, False, True, False]


def test_a_leader_cut_off_stops_before_another_begins():
    async def story():
        clock, server, log = VirtualClock(), OneLease(), []

        async def lead(election, seconds):
            async def work():
                log.append((election.identity, "begins", clock.monotonic()))
                try:
                    await clock.sleep(seconds)
                finally:
                    log.append((election.identity, "ends", clock.monotonic()))

            await election.lead(work)

        async def lose(election):
            with pytest.raises(LeadershipLost, match="a lost the lease kube-system/kube-scheduler"):
                await lead(election, 3600)

        a, way = candidate(server, "a", 1)
        b, _ = candidate(server, "b", 2)
        async with asyncio.TaskGroup() as group:
            group.create_task(lose(a))
            await clock.sleep(0.1)
            group.create_task(lead(b, 30))
            await clock.sleep(20)
            way.cut = True
        return log

    log = run_virtual(story())
    assert [entry[:2] for entry in log] == [("a", "begins"), ("a", "ends"), ("b", "begins"), ("b", "ends")]
    cut_at, stopped, took_over = 20.1, log[1][2], log[2][2]
    assert stopped - cut_at <= 12.1
    assert 12 <= took_over - cut_at <= 20
    assert stopped < took_over


def test_a_lease_taken_away_ends_the_work():
    async def story():
        clock, server = VirtualClock(), OneLease()
        a, _ = candidate(server, "a", 1)

        async def steal():
            await clock.sleep(5)
            spec = server.object["spec"] | {"holderIdentity": "thief"}
            server.handle("PUT", {**server.object, "spec": spec})

        async with asyncio.TaskGroup() as group:
            group.create_task(steal())
            with pytest.raises(LeadershipLost):
                await a.lead(lambda: clock.sleep(3600))
            return clock.monotonic()

    assert run_virtual(story()) < 8


def test_a_failure_of_the_work_is_raised_as_it_is():
    async def story():
        election, _ = candidate(OneLease(), "a", 1)

        async def work():
            raise ValueError("broken")

        with pytest.raises(ExceptionGroup) as caught:
            await election.lead(work)
        return caught.value.exceptions

    (error,) = run_virtual(story())
    assert str(error) == "broken"
