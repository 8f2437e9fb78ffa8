"""How fast do controllers bring up and take down a large number of objects? Prints one JSON line per stage.

`python benchmarks/controllers.py [DEPLOYMENTS] [REPLICAS] [NODES]`: a whole control plane with simulated nodes in this one
process, store in memory. Stages: Deployments created; all their pods Ready; a rolling update of all; the namespace with
all of it gone; then a week of hourly CronJobs in virtual time, told twice, which must end alike.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import resource
import time
from typing import NamedTuple

import uvloop

from kobune.api.objects.apps import Deployment
from kobune.api.objects.batch import CronJob, Job
from kobune.api.objects.core import Namespace, Pod, ServiceAccount
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.controllers.manager import ControllerManager
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport
from kobune.host.loops import patient_collector
from kobune.testing import Cluster
from kobune.testing.virtual import VirtualClock, run_virtual

NAMESPACE = "bench"
AT_ONCE = 16
WEEK_SECONDS = 7 * 24 * 3600 + 60  # The Jobs of its last hour end, too.


async def rollouts(deployments: int, replicas: int, nodes: int) -> None:
    async with Cluster(nodes=nodes) as cluster, asyncio.TaskGroup() as tasks:
        client = cluster.client
        await client.create(Namespace, {"metadata": {"name": NAMESPACE}})
        while await client.find(ServiceAccount, Key(NAMESPACE, "default")) is None:
            await asyncio.sleep(0.01)
        watch = Informer(client, Deployment, namespace=NAMESPACE)
        watching = tasks.create_task(watch.run())
        await watch.synced()
        began = start()
        await in_parallel(deployments, lambda number: client.create(Deployment, deployment(f"d{number}", replicas)))
        report("Deployments created", deployments, began)
        await until(lambda: all(map(is_rolled_out, watch.items.values())))
        report("pods Ready", deployments * replicas, began, requests=await requests_of(client))
        began = start()
        change = {"spec": {"template": {"metadata": {"annotations": {"round": "two"}}}}}
        await in_parallel(deployments, lambda number: client.patch(Deployment, Key(NAMESPACE, f"d{number}"), change))
        await asyncio.sleep(0.5)
        await until(lambda: all(map(is_rolled_out, watch.items.values())))
        report("pods replaced by rolling updates", deployments * replicas, began)
        began = start()
        await client.delete(Namespace, Key("", NAMESPACE))
        while await client.find(Namespace, Key("", NAMESPACE)) is not None:
            await asyncio.sleep(0.05)
        report("objects gone with their namespace", deployments * (replicas + 3), began)
        watching.cancel()


class Week(NamedTuple):
    jobs_made: int
    digest: str  # Of every stored object, byte by byte.


async def week_of_cron_jobs(count: int, seconds: float = WEEK_SECONDS) -> Week:
    """Hourly CronJobs, told from the same seeds: nothing but what they and the clock decide is in the outcome."""
    clock, store = VirtualClock(), MemoryStore()
    config = ApiServerConfig(disabled_admission_plugins=("ServiceAccount",))
    # As a control plane runs.
    with patient_collector():
        async with ApiServer(config, store, clock=clock, source=random.Random(1)) as server:
            return await _spend(server, clock, store, count, seconds)


async def _spend(server: ApiServer, clock: VirtualClock, store: MemoryStore, count: int, seconds: float) -> Week:
    client = Client(LocalTransport(server, MASTER))
    manager = ControllerManager(client, clock=clock, rng=random.Random(2))
    made = 0
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(manager.run()), tasks.create_task(finish_pods(client, clock))]
        await manager.started.wait()
        jobs = Informer(client, Job, clock=clock, rng=random.Random(3))

        def note(old: Job | None, new: Job | None) -> None:
            nonlocal made
            made += old is None and new is not None

        jobs.on_change(note)
        running.append(tasks.create_task(jobs.run()))
        for number in range(count):
            await client.create(CronJob, cron_job(f"c{number}"))
        await clock.sleep(seconds)
        kept = hashlib.sha256()
        for entry in (await store.list("/registry/")).entries:
            kept.update(entry.key.encode() + b" " + entry.value + b"\n")
        for task in running:
            task.cancel()
    return Week(made, kept.hexdigest())


async def finish_pods(client: Client, clock: VirtualClock) -> None:
    """Every pod succeeds after half a minute; what is deleted goes."""
    async with asyncio.TaskGroup() as tasks:
        pods = Informer(client, Pod, clock=clock)

        async def finish(key: Key) -> None:
            await clock.sleep(30)
            with contextlib.suppress(Exception):
                await client.patch_status(Pod, key, {"phase": "Succeeded", "startTime": format_time(clock.now())})

        async def end(key: Key) -> None:
            with contextlib.suppress(Exception):
                await client.delete(Pod, key, grace_seconds=0)

        def on_change(old: Pod | None, new: Pod | None) -> None:
            if new is not None and new.is_deleting:
                tasks.create_task(end(new.key))
            elif new is not None and old is None:
                tasks.create_task(finish(new.key))

        pods.on_change(on_change)
        await pods.run()


def deployment(name: str, replicas: int) -> dict:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "kobune.local/busybox"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def cron_job(name: str) -> dict:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "kobune.local/busybox"}]}}
    spec = {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": template}}}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def is_rolled_out(item: Deployment) -> bool:
    status, wanted = item.status, item.spec.replicas
    counts = (status.replicas, status.updated_replicas, status.available_replicas)
    return counts == (wanted,) * 3 and status.observed_generation == item.metadata.generation


async def in_parallel(count: int, act) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await act(number)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())


async def until(done) -> None:
    while not done():
        await asyncio.sleep(0.05)


def start() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


async def requests_of(client: Client) -> int:
    """How many requests the API server has answered so far."""
    lines = (await client.call("GET", "/metrics")).decode().splitlines()
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith("apiserver_request_total{"))


def report(stage: str, count: int, began: tuple[float, float], **more: int) -> None:
    figures = {
        **more,
        "seconds": round(time.perf_counter() - began[0], 2),
        "cpu_seconds": round(time.process_time() - began[1], 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps({"bench": "controllers", "stage": stage, "count": count, **figures}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("deployments", 1_000), ("replicas", 10), ("nodes", 1_000)):
        parser.add_argument(name, type=int, nargs="?", default=default)
    sizes = parser.parse_args()
    uvloop.run(rollouts(sizes.deployments, sizes.replicas, sizes.nodes))
    weeks = []
    for _ in range(2):
        began = start()
        weeks.append(run_virtual(week_of_cron_jobs(100)))
        report("Jobs of a week of hourly CronJobs", weeks[-1].jobs_made, began)
    print(
        json.dumps(
            {
                "bench": "controllers",
                "stage": "both weeks ended alike, byte by byte",
                "alike": weeks[0] == weeks[1],
                "digests": [week.digest for week in weeks],
            }
        )
    )
