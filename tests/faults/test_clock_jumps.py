"""The wall clock jumps by days while a cluster works: what is waited for is measured by a clock that does not jump."""

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Node, Pod
from kobune.api.objects.meta import Key
from kobune.client.leases import LeaderElection, Terms
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.testing import Cluster


class JumpingClock(SystemClock):
    """The system's, but for the wall clock, which somebody sets now and then."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


JUMPS = (timedelta(days=1), timedelta(days=-1), timedelta(hours=1), timedelta(days=-400), timedelta())


async def until(condition, clock, *, seconds=60.0):
    give_up = clock.monotonic() + seconds
    while not await condition():
        assert clock.monotonic() < give_up
        await clock.sleep(0.05)


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
async def store(request, tmp_path):
    """Either engine."""
    store = await opened(request.param, request, tmp_path)
    yield store
    await store.close()


async def opened(engine, request, tmp_path):
    if engine == "sqlite":
        return await SqliteStore.open(tmp_path / "state.db")
    return EtcdStore([request.getfixturevalue("etcd")], root=f"/{uuid.uuid4().hex}")


async def test_nodes_stay_ready_pods_stay_and_work_goes_on(store):
    await work_while_the_clock_jumps(store, pause=0.0)


@pytest.mark.slow
@pytest.mark.etcd
async def test_also_when_controllers_see_each_jump_more_than_once(request, tmp_path):
    """Those that judge nodes look every five seconds. Both engines side by side, since most of it is waiting."""
    stores = [await opened(engine, request, tmp_path) for engine in ("sqlite", "etcd")]
    async with asyncio.TaskGroup() as tasks:
        for store in stores:
            tasks.create_task(work_while_the_clock_jumps(store, pause=11.0))
    for store in stores:
        await store.close()


async def work_while_the_clock_jumps(store, *, pause):
    """API server, controllers, scheduler and kubelets on one clock; it jumps, and again after so many seconds."""
    clock = JumpingClock()
    async with Cluster(nodes=3, clock=clock, store=store) as cluster:
        client = cluster.client

        async def deploy(name):
            labels = {"app": name}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "a", "image": "example.org/a"}]},
            }
            spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
            body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
            await client.call("POST", "/apis/apps/v1/namespaces/default/deployments", body=orjson.dumps(body))

            async def runs():
                pods = (await client.list(Pod, "default", labels=f"app={name}")).items
                return len(pods) == 3 and all(pod.status.phase == "Running" for pod in pods)

            await until(runs, clock)

        await deploy("before")
        before = {pod.uid for pod in (await client.list(Pod, "default")).items}
        revision = (await client.list(Pod, "default")).revision
        for number, clock.ahead in enumerate(JUMPS):
            await clock.sleep(pause)
            await deploy(f"after-{number}")
            nodes = (await client.list(Node)).items
            assert all(node.takes_pods for node in nodes), clock.ahead
        # The history that a watch resumes from is measured in time too.
        async for event in client.watch(Pod, "default", revision=revision):
            assert event.object.metadata.resource_version > revision
            break
        assert before <= {pod.uid for pod in (await client.list(Pod, "default")).items}


async def test_a_leader_stays_leader_and_a_candidate_waits(store):
    """Each on a machine of its own, whose clock is set forwards and back when the other's is set back and forwards."""
    clocks = {"first": JumpingClock(), "second": JumpingClock()}
    terms = Terms(lease_duration=3.0, renew_deadline=2.0, retry_period=0.1)
    async with Cluster(nodes=0, store=store) as cluster:
        key, led = Key("kube-system", "test"), []

        def candidate(name):
            return LeaderElection(cluster.client, key, name, clock=clocks[name], rng=random.Random(1), terms=terms)

        async def work(name):
            led.append(name)
            for jump in JUMPS:
                clocks["first"].ahead, clocks["second"].ahead = jump, -jump
                await asyncio.sleep(0.5)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(candidate("first").lead(lambda: work("first")))
            await asyncio.sleep(0.5)
            second = tasks.create_task(candidate("second").lead(lambda: work("second")))
            await asyncio.sleep(1.5)
            assert led == ["first"]
            await until(lambda: asyncio.sleep(0, led == ["first", "second"]), clocks["first"])
            second.cancel()
