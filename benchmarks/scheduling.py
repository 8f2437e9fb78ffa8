"""How fast are pods placed? Prints one JSON line per case: judging alone, and end to end with the API server and binding.

`python benchmarks/scheduling.py [--nodes 1000 5000] [--pods 3000] [--cases basic …]`. The cases have the shapes of
upstream's scheduler_perf, scaled to the number of nodes; `upstream_floor_5000_nodes` is what its continuous integration
holds, in pods/s on large machines. Everything is one process on one core, with the event loop and the patience of a
control plane's; `pods_per_cpu_second` leaves out the time that other processes took.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import uvloop

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Node
from kobune.api.objects.scheduling import Pod
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
from kobune.host.loops import patient_collector

Json = dict[str, Any]
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
ZONES = 3
CHURN_SECONDS = 0.2  # A churning case gets one more pod so often. Source: upstream's intervalMilliseconds.
TEAM, OTHER = "team", "default"  # Namespaces; the first one is labelled.


@dataclass(frozen=True)
class Before:
    """Pods that are bound before anything is measured, spread evenly."""

    made: Callable[[int], Json]
    per_node: float = 1.0
    namespace: str = OTHER


@dataclass(frozen=True)
class Case:
    """What is there before, what goes on meanwhile, and what is measured."""

    upstream: int  # pods/s, or 0 where upstream holds none.
    measured: Callable[[int], Json]  # The number-th measured pod's spec and labels.
    before: tuple[Before, ...] = ()
    churn: Callable[[int], Json] | None = None  # One such pod every CHURN_SECONDS.
    namespace: str = OTHER
    nodes: int = 0  # Instead of the number asked for.
    most: int = 0  # Measured pods at most; 0: no limit.
    per_node: float = 0.0  # The same per node.
    objects: tuple[Json, ...] = ()  # Services and the like, in the measured namespace.
    volumes: bool = False  # Each pod has a bound claim of its own.
    one_node: bool = False  # One large node takes all measured pods.
    waiting: Callable[[int], Json] | None = None  # As many pods as are measured wait for good.


def pod(cpu: str = "100m", memory: str = "500Mi", labels: Json | None = None, **spec: Any) -> Json:
    container = {"name": "c", "image": "pause", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return {"labels": labels or {}, "spec": {"containers": [container], **spec}}


def light(labels: Json | None = None, **spec: Any) -> Json:
    return {"labels": labels or {}, "spec": {"containers": [{"name": "c", "image": "pause"}], **spec}}


def term(key: str, color: str, **more: Any) -> Json:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"color": color}}, **more}


def required(kind: str, one: Json) -> Json:
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [one]}}}


def preferred(kind: str, one: Json) -> Json:
    weighted = [{"weight": 1, "podAffinityTerm": one}]
    return {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}}


def spread(key: str, when: str) -> Json:
    selector = {"matchLabels": {"color": "blue"}}
    one = {"maxSkew": 5, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector}
    return {"topologySpreadConstraints": [one]}


BLUE, GREEN, RED, YELLOW = ({"color": color} for color in ("blue", "green", "red", "yellow"))
APP = {"app": "benchmark"}
NODE_TERM = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone-1", "zone-2"]}]}
NODE_AFFINITY = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [NODE_TERM]}}
TEAM_SELECTOR = {"namespaceSelector": {"matchLabels": {"team": "devops"}}}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "all"},
    "spec": {"selector": APP, "ports": [{"port": 80}]},
}
GATES = [{"name": "benchmark/hold"}]


def daemon(node_name: str) -> Json:
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node_name]}]}
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [by_name]}}
    return light(affinity={"nodeAffinity": terms})


def plain(_: int) -> Json:
    return pod()


def near(_: int) -> Json:
    return pod(labels=BLUE, **required("podAffinity", term(ZONE, "blue")))


def apart(_: int) -> Json:
    return pod(labels=GREEN, **required("podAntiAffinity", term(HOST, "green")))


def rather_near(_: int) -> Json:
    return pod(labels=RED, **preferred("podAffinity", term(HOST, "red")))


def rather_apart(_: int) -> Json:
    return pod(labels=YELLOW, **preferred("podAntiAffinity", term(HOST, "yellow")))


def team(kind: str, how: Callable[[str, Json], Json], key: str) -> Callable[[int], Json]:
    return lambda _: pod(labels=GREEN, **how(kind, term(key, "green", **TEAM_SELECTOR)))


def low_priority(_: int) -> Json:
    return pod("900m", terminationGracePeriodSeconds=0)


def high_priority(_: int) -> Json:
    return pod("3", priority=10)


CASES = {
    "basic": Case(680, plain, (Before(plain, 0.2),)),
    "daemonset": Case(1100, lambda _: daemon("one-node"), nodes=15000, one_node=True),
    "daemonset-each": Case(0, lambda number: daemon(f"node-{number}"), nodes=15000, per_node=1.0),
    "node-affinity": Case(220, lambda _: pod(affinity={"nodeAffinity": NODE_AFFINITY}), (Before(plain),)),
    "pod-affinity": Case(35, near, (Before(near),)),
    "pod-anti-affinity": Case(60, apart, (Before(apart, 0.2),), per_node=0.4),
    "preferred-pod-affinity": Case(90, rather_near, (Before(rather_near),)),
    "preferred-pod-anti-affinity": Case(90, rather_apart, (Before(rather_apart),)),
    "anti-affinity-namespaces": Case(
        24, (apart_team := team("podAntiAffinity", required, HOST)), (Before(apart_team, 0.5, TEAM),), namespace=TEAM, per_node=0.4
    ),
    "affinity-namespaces": Case(
        35, (near_team := team("podAffinity", required, ZONE)), (Before(near_team, 1, TEAM),), namespace=TEAM
    ),
    "topology-spreading": Case(460, lambda _: pod(labels=BLUE, **spread(ZONE, "DoNotSchedule")), (Before(plain),)),
    "preferred-topology-spreading": Case(340, lambda _: pod(labels=BLUE, **spread(ZONE, "ScheduleAnyway")), (Before(plain),)),
    "default-spreading": Case(160, lambda _: light(labels=APP), (Before(plain),), objects=(SERVICE,)),
    "preemption-churn": Case(570, plain, (Before(low_priority, 4),), churn=high_priority),
    "preemption": Case(0, high_priority, (Before(low_priority, 4),), most=500),
    "unschedulable-churn": Case(590, plain, (Before(plain, 0.02),), churn=lambda _: pod("9", priority=10)),
    "mixed": Case(
        140, plain, (Before(plain, 0.4), Before(near, 0.4), Before(apart, 0.4), Before(rather_near, 0.4), Before(rather_apart, 0.4))
    ),
    "secrets": Case(
        0, lambda _: pod(volumes=[{"name": "secret", "secret": {"secretName": "secret"}}]), (Before(plain, 0.2),)
    ),
    "volumes": Case(48, lambda number: pod(volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": f"claim-{number}"}}]), volumes=True),
    "gated": Case(
        130, lambda _: light(labels=APP), one_node=True, nodes=1,
        waiting=lambda _: light(labels=APP, schedulingGates=GATES, affinity={"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": HOST, "labelSelector": {"matchLabels": APP}}]}}),
    ),
}  # fmt: skip


def node(number: int, name: str = "", pods: int = 110) -> Json:
    name = name or f"node-{number}"
    amounts = {"cpu": "4", "memory": "32Gi", "pods": str(pods)}
    labels = {HOST: name, ZONE: f"zone-{number % ZONES}"}
    status = {"capacity": amounts, "allocatable": amounts}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def manifest(name: str, made: Json, namespace: str = OTHER) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": made["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made["spec"]}


def volume(number: int) -> Json:
    source = {"csi": {"driver": "disk.example.org", "volumeHandle": f"disk-{number}"}, "accessModes": ["ReadOnlyMany"]}
    bound = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": OTHER,
        "name": f"claim-{number}",
        "uid": f"claim-{number}",
    }
    spec = {**source, "capacity": {"storage": "1Gi"}, "claimRef": bound}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"volume-{number}"}, "spec": spec}


def claim(number: int, namespace: str) -> Json:
    metadata = {
        "name": f"claim-{number}",
        "namespace": namespace,
        "annotations": {"pv.kubernetes.io/bind-completed": "true"},
    }
    wanted = {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}
    spec = {**wanted, "volumeName": f"volume-{number}", "storageClassName": ""}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Bound"},
    }


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
        namespace = made["metadata"].get("namespace", "")
        scope = f"namespaces/{namespace}/" if namespace else ""
        await self.client.call("POST", f"/api/v1/{scope}{plural}", body=orjson.dumps(made))

    @property
    def scheduled(self) -> int:
        return int(self.scheduler.metrics.attempts.values.get(("scheduled", "default-scheduler"), 0))


async def until(question: Callable[[], bool]) -> None:
    """Return when the answer is yes, or after two minutes."""
    deadline = time.perf_counter() + 120
    while True:
        if question() or time.perf_counter() > deadline:
            return
        await asyncio.sleep(0.001)


async def prepare(cluster: Cluster, case: Case, size: int, pods: int) -> None:
    """Everything that is there before the scheduler starts, the measured pods included."""
    team = {"metadata": {"name": TEAM, "labels": {"team": "devops"}}}
    await cluster.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", **team})
    for number in range(size):
        await cluster.create("nodes", node(number))
    if case.one_node:
        await cluster.create("nodes", node(0, "one-node", pods=90_000))
    for made in case.objects:
        metadata = {**made["metadata"], "namespace": case.namespace}
        await cluster.create(f"{made['kind'].lower()}s", {**made, "metadata": metadata})
    for index, before in enumerate(case.before):
        for number in range(round(size * before.per_node)):
            made = manifest(f"before-{index}-{number}", before.made(number), before.namespace)
            made["spec"]["nodeName"] = f"node-{number % size}"
            await cluster.create("pods", made)
    for number in range(pods if case.waiting else 0):
        await cluster.create("pods", manifest(f"waiting-{number}", case.waiting(number), case.namespace))  # type: ignore[misc]
    for number in range(pods):
        if case.volumes:
            await cluster.create("persistentvolumes", volume(number))
            await cluster.create("persistentvolumeclaims", claim(number, case.namespace))
        await cluster.create("pods", manifest(f"pod-{number}", case.measured(number), case.namespace))


async def churn(cluster: Cluster, made: Callable[[int], Json], namespace: str) -> None:
    """One more pod after each pause, for ever."""
    for number in itertools.count():
        await cluster.create("pods", manifest(f"churn-{number}", made(number), namespace))
        await asyncio.sleep(CHURN_SECONDS)


async def end_to_end(name: str, case: Case, size: int, pods: int) -> Json:
    """The measured pods exist before the scheduler starts; the clock runs from its first pod to the last one's binding."""
    plugins = ("ServiceAccount", "TaintNodesByCondition", "Priority")
    config = ApiServerConfig(authorization_mode=("AlwaysAllow",), disabled_admission_plugins=plugins)
    size = case.nodes or size
    pods = min(pods, case.most or pods, round(size * case.per_node) or pods)
    async with ApiServer(config, MemoryStore(), clock=SystemClock()) as server:
        cluster = Cluster(server)
        await prepare(cluster, case, size, pods)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(cluster.scheduler.run())]
            await until(lambda: cluster.scheduled > 0 or bool(cluster.scheduler.metrics.preemptions.values))
            began, cpu = time.perf_counter(), time.process_time()
            if case.churn is not None:
                running.append(tasks.create_task(churn(cluster, case.churn, case.namespace)))
            await until(lambda: cluster.scheduled >= pods)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            finished = cluster.scheduled
            for task in running:
                task.cancel()
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
        seconds = []
        for number in range(pods):
            began = time.perf_counter()
            await cluster.create("pods", manifest(f"pod-{number}", pod()))
            while cluster.scheduled <= number:
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
            print(json.dumps(uvloop.run(latency(size, 200))), flush=True)
    for name in options.cases:
        for size in options.nodes if name in CASES else ():
            print(json.dumps(uvloop.run(end_to_end(name, CASES[name], size, options.pods))), flush=True)


if __name__ == "__main__":
    with patient_collector():  # As every process of a control plane has it.
        main()
