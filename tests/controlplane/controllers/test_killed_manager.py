"""Managers that are killed, cut off, refused and answered too late: what they keep true comes true all the same.

The short form is told with every test run; the long one (100 rounds) belongs to `make test-killed-managers`.
"""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict

import pytest

from kobune.api.errors import ApiError, ServiceUnavailable
from kobune.api.objects.coordination import Lease
from kobune.api.objects.core import Pod
from kobune.client.informer import Informer
from kobune.client.leases import LeadershipLost

CONTROLLERS = (
    "deployment-controller,replicaset-controller,statefulset-controller,job-controller,garbage-collector-controller,"
    "cronjob-controller,daemonset-controller"
)
REPLICAS, SURGE = 8, 2
COMPLETIONS, PARALLELISM = 9, 3
LONGEST = 3.0  # Seconds for which there may be a pod too many: a manager that starts reconciles once.


def template(app, **rest):
    spec = {"containers": [{"name": "c", "image": "one"}], **rest}
    return {"metadata": {"labels": {"app": app}}, "spec": spec}


def deployment():
    rolling = {"maxSurge": SURGE, "maxUnavailable": 1}
    spec = {
        "replicas": REPLICAS,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"rollingUpdate": rolling},
        "template": template("web"),
    }
    return {"metadata": {"name": "web"}, "spec": spec}


def stateful_set():
    spec = {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db")}
    return {"metadata": {"name": "db"}, "spec": spec}


def job():
    spec = {"completions": COMPLETIONS, "parallelism": PARALLELISM, "template": template("job", restartPolicy="Never")}
    return {"metadata": {"name": "work"}, "spec": spec}


class Observer:
    """Watches the pods beside the managers and keeps what must never be."""

    def __init__(self, world):
        self.world = world
        self.pods = Informer(world.client, Pod, clock=world.clock, rng=random.Random(3))
        self.pods.on_change(self._note)
        self.limits = {"web": REPLICAS + SURGE, "job": PARALLELISM, "db": 3}
        self.since = {}
        self.wrong = []
        self.created = Counter()

    def _note(self, old, new):
        if old is None and new is not None:
            self.created[new.metadata.labels.get("app", "")] += 1
        now = self.world.clock.monotonic()
        active = defaultdict(list)
        for pod in self.pods.items.values():
            if pod.is_active:
                active[pod.metadata.labels.get("app", "")].append(pod)
        for app, limit in self.limits.items():
            if len(active[app]) <= limit:
                began = self.since.pop(app, None)
                if began is not None and now - began > LONGEST:
                    self.wrong.append(f"{app} had more than {limit} pods for {now - began:.1f} s")
            else:
                self.since.setdefault(app, now)


async def live_through(world, rng, *, share):
    """A rollout, a scale-down and a Job while managers die."""
    world.outcome = lambda pod: "Succeeded"
    observer = Observer(world)
    watching = asyncio.create_task(observer.pods.run())
    await observer.pods.synced()
    calm = asyncio.Event()
    killing = asyncio.create_task(world.kill_managers(CONTROLLERS, rng, share=share, until=calm))
    await world.create("deployments", deployment())
    await world.create("statefulsets", stateful_set())
    await world.create("jobs", job())
    jobs_pods = asyncio.create_task(finish_job_pods(world, rng))
    await world.sleep(rng.uniform(5, 15))
    await world.patch(
        "deployments", "web", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}}
    )
    await world.patch(
        "statefulsets", "db", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}}
    )
    await world.sleep(rng.uniform(5, 20))
    await world.patch("deployments", "web", {"spec": {"replicas": 3}})
    await world.sleep(rng.uniform(5, 20))
    calm.set()
    last = await killing
    running = asyncio.create_task(last.run())
    try:
        return await outcome(world, observer)
    finally:
        for task in (running, watching, jobs_pods):
            task.cancel()
        await asyncio.gather(running, watching, jobs_pods, return_exceptions=True)


async def finish_job_pods(world, rng):
    """The Job's pods succeed some seconds after they became ready."""
    done = set()
    while True:
        for pod in await world.list("pods", labelSelector="app=job"):
            name = pod["metadata"]["name"]
            if pod["status"].get("phase") == "Running" and name not in done and rng.random() < 0.3:
                done.add(name)
                await world.finish(world.key("default", name))
        await world.sleep(1)


async def outcome(world, observer):
    async def settled():
        web = await world.get("deployments", "web")
        db = await world.get("statefulsets", "db")
        work = await world.get("jobs", "work")
        web_status, db_status = web.get("status", {}), db.get("status", {})
        finished = any(
            each["type"] == "Complete" and each["status"] == "True" for each in work["status"].get("conditions", ())
        )
        return (
            (web_status.get("replicas"), web_status.get("updatedReplicas"), web_status.get("availableReplicas"))
            == (3, 3, 3)
            and web_status.get("observedGeneration") == web["metadata"]["generation"]
            and (db_status.get("readyReplicas"), db_status.get("updatedReplicas")) == (3, 3)
            and db_status.get("observedGeneration") == db["metadata"]["generation"]
            and finished
        )

    await world.until(settled, seconds=300)
    await world.sleep(5)
    work = await world.get("jobs", "work")
    counted = (
        work["status"]["succeeded"],
        work["status"].get("failed", 0),
        work["status"].get("uncountedTerminatedPods") or {},
    )
    pods = await world.list("pods")
    names = Counter(pod["metadata"]["labels"]["app"] for pod in pods)
    kept = [pod["metadata"].get("finalizers") for pod in pods if pod["metadata"]["labels"]["app"] == "job"]
    return observer.wrong, counted, names["web"], names["db"], [each for each in kept if each], observer.created["job"]


def rounds(tell, count, *, share):
    for seed in range(count):

        async def story(world, seed=seed):
            return await live_through(world, random.Random(seed), share=share)

        wrong, counted, web, db, held, made = tell(story, None)
        assert wrong == [], seed
        assert counted == (COMPLETIONS, 0, {}), seed
        assert (web, db, held) == (3, 3, []), seed
        assert made == COMPLETIONS, seed


def test_killed_managers_make_no_pod_too_many_and_count_each_once(tell):
    rounds(tell, 1, share=0.0)


def test_refused_and_lost_answers_are_got_over(tell):
    rounds(tell, 1, share=0.1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_managers_a_hundred_times(tell):
    rounds(tell, 100, share=0.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_refused_and_lost_answers_a_hundred_times(tell):
    rounds(tell, 100, share=0.1)


async def elected(world, name, rng, writes, cut):
    """A manager that stands for election again whenever it has lost, as its process would be started again."""

    def note(method, path):
        if name in cut:
            return ServiceUnavailable("cut off")
        if method != "GET" and "/leases" not in path and "/events" not in path:
            writes.append((world.clock.monotonic(), name))
        return None

    while True:
        manager = world.new_manager(CONTROLLERS, seed=rng.random(), faults=note, leader_elect=True, identity=name)
        with contextlib.suppress(LeadershipLost, ApiError, ExceptionGroup):
            await manager.run()
        await world.sleep(1)


async def two_candidates(world, seed):
    rng, writes, cut, holders = random.Random(seed), [], set(), []
    leases = Informer(world.client, Lease, namespace="kube-system", clock=world.clock, rng=random.Random(4))

    def on_lease(_old, new):
        if new is not None and (not holders or holders[-1][1] != new.spec.holder_identity):
            holders.append((world.clock.monotonic(), new.spec.holder_identity))

    leases.on_change(on_lease)
    tasks = [asyncio.create_task(leases.run())]
    await leases.synced()
    tasks += [asyncio.create_task(elected(world, name, rng, writes, cut)) for name in ("one", "two")]
    await world.create("deployments", deployment())
    for turn in range(6):
        await world.sleep(rng.uniform(10, 30))
        cut.clear()
        if holders:
            cut.add(holders[-1][1])  # Whoever leads does not reach the server any more, and the other has to take over.
        await world.patch("deployments", "web", {"spec": {"replicas": 3 + turn}})
    cut.clear()
    await world.sleep(60)
    status = (await world.get("deployments", "web"))["status"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return writes, holders, status


def both_at_once(writes, holders):
    """Writes of one while the lease was the other's."""
    wrong = []
    for when, name in writes:
        held = [holder for since, holder in holders if since < when]
        at_that_moment = {holder for since, holder in holders if since == when} | ({held[-1]} if held else set())
        if name not in at_that_moment:
            wrong.append((when, name, sorted(at_that_moment)))
    return wrong


@pytest.mark.parametrize("seed", [0])
def test_of_two_managers_only_the_leader_acts(tell, seed):
    async def story(world):
        return await two_candidates(world, seed)

    writes, holders, status = tell(story, None)
    assert both_at_once(writes, holders) == []
    assert {name for _, name in writes} == {"one", "two"}  # It was taken over at least once.
    assert status["availableReplicas"] == 8
