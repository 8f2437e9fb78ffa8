"""How fast are pods placed? Prints one JSON line per case: judging alone, and end to end with the API server and binding.

`python benchmarks/scheduling.py [--nodes 1000 5000] [--pods 3000] [--cases basic …]`. The cases have the shapes of
upstream's scheduler_perf; `upstream_floor_5000_nodes` is what its continuous integration holds, in pods/s on large machines.
Everything is one process on one core; `pods_per_cpu_second` leaves out the time that other processes took.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Node, Pod
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodParser
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.controlplane.scheduler.scheduler import Scheduler
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport

Json = dict[str, Any]
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
ZONES = 3


@dataclass(frozen=True)
class Case:
    """What is there before, and what is measured."""

    upstream: int  # pods/s, or 0 where upstream holds none.
    measured: Callable[[int], Json]  # The number-th measured pod's spec and labels.
    before: Callable[[int], Json] | None = None  # Pods bound before, one or more per node.
    before_per_node: int = 0
    scheduled: bool = True  # False: the measured pods fit nowhere, and being told so is what counts.
    most: int = 0  # Measured pods at most; 0: no limit.


def pod(cpu: str = "100m", memory: str = "500Mi", labels: Json | None = None, **spec: Any) -> Json:
    container = {"name": "c", "image": "pause", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return {"labels": labels or {}, "spec": {"containers": [container], **spec}}


def term(key: str, color: str) -> Json:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"color": color}}}


def required(kind: str, one: Json) -> Json:
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [one]}}}


def preferred(kind: str, one: Json) -> Json:
    weighted = [{"weight": 1, "podAffinityTerm": one}]
    return {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}}


def spread(key: str, when: str) -> Json:
    selector = {"matchLabels": {"color": "blue"}}
    one = {"maxSkew": 5, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector}
    return {"topologySpreadConstraints": [one]}


BLUE = {"color": "blue"}
NODE_TERM = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone-1", "zone-2"]}]}
NODE_AFFINITY = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [NODE_TERM]}}
CASES = {
    "basic": Case(680, lambda _: pod()),
    "node-affinity": Case(220, lambda _: pod(affinity={"nodeAffinity": NODE_AFFINITY})),
    "pod-affinity": Case(35, lambda _: pod(labels=BLUE, **required("podAffinity", term(ZONE, "blue")))),
    "pod-anti-affinity": Case(
        60, lambda number: pod(labels={"color": f"c{number % 50}"}, **required("podAntiAffinity", term(HOST, f"c{number % 50}")))
    ),
    "preferred-pod-affinity": Case(90, lambda _: pod(labels=BLUE, **preferred("podAffinity", term(HOST, "blue")))),
    "preferred-pod-anti-affinity": Case(90, lambda _: pod(labels=BLUE, **preferred("podAntiAffinity", term(HOST, "blue")))),
    "topology-spreading": Case(460, lambda _: pod(labels=BLUE, **spread(ZONE, "DoNotSchedule"))),
    "preferred-topology-spreading": Case(340, lambda _: pod(labels=BLUE, **spread(ZONE, "ScheduleAnyway"))),
    "preemption": Case(
        570, lambda _: pod("3", priority=10), before=lambda _: pod("900m", terminationGracePeriodSeconds=0), before_per_node=4, most=500
    ),
    "unschedulable": Case(590, lambda _: pod("9"), scheduled=False),
    "mixed": Case(
        140,
        lambda number: [
            pod(),
            pod(labels=BLUE, **preferred("podAffinity", term(HOST, "blue"))),
            pod(labels=BLUE, **spread(ZONE, "ScheduleAnyway")),
            pod(labels={"color": f"c{number % 50}"}, **required("podAntiAffinity", term(HOST, f"c{number % 50}"))),
        ][number % 4],
    ),
}  # fmt: skip


def node(number: int) -> Json:
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    labels = {HOST: f"node-{number}", ZONE: f"zone-{number % ZONES}"}
    status = {"capacity": amounts, "allocatable": amounts}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": labels},
        "status": status,
    }


def manifest(name: str, made: Json) -> Json:
    metadata = {"name": name, "namespace": "default", "labels": made["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made["spec"]}


def judging(sizes: list[int], pods: int) -> Iterator[Json]:
    """Filters, scores, the choice and the table's update; no API."""
    for size in sizes:
        table, parser, rng = NodeTable(), PodParser(), random.Random(1)
        for number in range(size):
            table.put_node(msgspec.convert(node(number), Node))
        profile = build_profile(ProfileConfiguration(), Listers()).profile
        views = []
        for number in range(pods):
            made = manifest(f"pod-{number}", pod())
            made["metadata"]["uid"] = str(number)
            views.append(msgspec.convert(made, Pod))
        seconds = []
        for view in views:
            began = time.perf_counter()
            info = parser.parse(view)
            row = profile.find_node(info, table, Nominations(), rng)
            if row is not None:
                table.add_pod(info, table.names[row])
            seconds.append(time.perf_counter() - began)
        yield {
            "bench": "scheduling/judge", "nodes": size, "pods": pods,
            "us_per_pod": round(statistics.mean(seconds) * 1e6, 1),
            "us_p99": round(statistics.quantiles(seconds, n=100)[98] * 1e6, 1),
        }  # fmt: skip


class Cluster:
    """An API server over the memory store with a scheduler beside it."""

    def __init__(self, server: ApiServer) -> None:
        self.client = Client(LocalTransport(server, MASTER))
        self.scheduler = Scheduler(self.client, clock=SystemClock(), rng=random.Random(1))

    async def create(self, plural: str, made: Json) -> None:
        namespace = "namespaces/default/" if plural == "pods" else ""
        await self.client.call("POST", f"/api/v1/{namespace}{plural}", body=orjson.dumps(made))


async def until(question: Callable[[], bool]) -> None:
    """Return when the answer is yes, or after two minutes."""
    deadline = time.perf_counter() + 120
    while True:
        if question() or time.perf_counter() > deadline:
            return
        await asyncio.sleep(0.001)


async def end_to_end(name: str, case: Case, size: int, pods: int) -> Json:
    """The measured pods exist before the scheduler starts; the clock runs from its first pod to the last one's binding."""
    plugins = ("ServiceAccount", "TaintNodesByCondition", "Priority")
    config = ApiServerConfig(authorization_mode=("AlwaysAllow",), disabled_admission_plugins=plugins)
    async with ApiServer(config, MemoryStore(), clock=SystemClock()) as server:
        cluster = Cluster(server)
        for number in range(size):
            await cluster.create("nodes", node(number))
        if case.before is not None:
            for number in range(size * case.before_per_node):
                made = manifest(f"before-{number}", case.before(number))
                made["spec"]["nodeName"] = f"node-{number % size}"
                await cluster.create("pods", made)
        pods = min(pods, case.most) if case.most else pods
        for number in range(pods):
            await cluster.create("pods", manifest(f"pod-{number}", case.measured(number)))
        running = asyncio.create_task(cluster.scheduler.run())
        attempts = cluster.scheduler.metrics.attempts
        done = ("scheduled" if case.scheduled else "unschedulable", "default-scheduler")
        await until(lambda: bool(attempts.values))
        began, cpu = time.perf_counter(), time.process_time()
        await until(lambda: attempts.values.get(done, 0) >= pods)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        finished = int(attempts.values.get(done, 0))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return {
        "bench": f"scheduling/{name}", "nodes": size, "pods": finished, "pods_per_second": round(finished / seconds),
        "pods_per_cpu_second": round(finished / cpu),
        "upstream_floor_5000_nodes": case.upstream,
    }  # fmt: skip


async def latency(size: int, pods: int) -> Json:
    """One pod at a time in an idle cluster: from the request that creates it to its binding in the API server."""
    plugins = ("ServiceAccount", "TaintNodesByCondition", "Priority")
    config = ApiServerConfig(authorization_mode=("AlwaysAllow",), disabled_admission_plugins=plugins)
    async with ApiServer(config, MemoryStore(), clock=SystemClock()) as server:
        cluster = Cluster(server)
        for number in range(size):
            await cluster.create("nodes", node(number))
        running = asyncio.create_task(cluster.scheduler.run())
        attempts, done = cluster.scheduler.metrics.attempts, ("scheduled", "default-scheduler")
        seconds = []
        for number in range(pods):
            began = time.perf_counter()
            await cluster.create("pods", manifest(f"pod-{number}", pod()))
            while attempts.values.get(done, 0) <= number:
                await asyncio.sleep(0)
            seconds.append(time.perf_counter() - began)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    seconds = seconds[1:]  # The first one waits for the informers, and for the nodes to be judged.
    return {
        "bench": "scheduling/latency", "nodes": size, "pods": pods, "ms_p50": round(statistics.median(seconds) * 1e3, 2),
        "ms_p99": round(statistics.quantiles(seconds, n=100)[98] * 1e3, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--pods", type=int, default=3000)
    parser.add_argument(
        "--cases", nargs="+", choices=["judge", "latency", *CASES], default=["judge", "latency", *CASES]
    )
    options = parser.parse_args()
    if "judge" in options.cases:
        for line in judging(options.nodes, options.pods):
            print(json.dumps(line), flush=True)
    if "latency" in options.cases:
        for size in options.nodes:
            print(json.dumps(asyncio.run(latency(size, 200))), flush=True)
    for name in options.cases:
        for size in options.nodes if name in CASES else ():
            print(json.dumps(asyncio.run(end_to_end(name, CASES[name], size, options.pods))), flush=True)


if __name__ == "__main__":
    main()
