"""A control plane of tier Standard, whose processes are killed one by one: what its users see at its one address."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.errors import ApiError, ServiceUnavailable
from kobune.client.kubeconfig import load_kubeconfig
from kobune.client.transport import Transport
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.pulse import last_beat
from kobune.host.spec import ProcessStatus, read_spec, read_status, write_spec
from kobune.host.topology import component_of

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(400)]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
SHORT = ("etcd-0", "kube-apiserver-0", "kube-scheduler-0", "kube-controller-manager-0")
# Generous: other work may keep the machine busy. A test that is not loaded sees a small part of it.
RECOVERY_SECONDS = 60.0


def kobune(state_dir: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "kobune", *arguments, "--state-dir", str(state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterLayout]:
    state_dir = tmp_path_factory.mktemp("state")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    try:
        kobune(state_dir, "up", "--nodes", "0", "--simulated-nodes", "3", "--tier", "standard", "--api-port", port)
        yield Layout(state_dir).cluster("kobune")
    finally:
        kobune(state_dir, "down", "--purge")


class Load:
    """Writers at the cluster's address; what they were answered, and when."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.transport, self.name = transport, name
        self.acknowledged: list[str] = []
        self.longest_gap = 0.0  # Seconds in which no write was answered.
        self._last = time.monotonic()

    async def write(self, writer: int) -> None:
        number = 0
        while True:
            name = f"{self.name}-{writer}-{number}"
            body = orjson.dumps({"metadata": {"name": name}, "data": {"writer": str(writer)}})
            status = await answered(self.transport, "POST", CONFIG_MAPS, body)
            assert status in (201, 409), status  # 409: done by the request whose answer was lost.
            now = time.monotonic()
            self.longest_gap, self._last = max(self.longest_gap, now - self._last), now
            self.acknowledged.append(name)
            number += 1
            await asyncio.sleep(0.01)

    async def goes_on(self, writes: int = 20) -> None:
        """Return after so many more answers."""
        wanted = len(self.acknowledged) + writes
        async with asyncio.timeout(RECOVERY_SECONDS):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.02)


async def answered(transport: Transport, method: str, path: str, body: bytes = b"") -> int:
    while True:
        try:
            answer = await transport.request(method, path, body=body)
            if answer.status < 500:
                return answer.status
        except ServiceUnavailable:
            pass
        await asyncio.sleep(0.05)


def processes(cluster: ClusterLayout) -> dict[str, ProcessStatus]:
    return {process.name: process for process in read_status(cluster).processes}


async def until_restarted(cluster: ClusterLayout, killed: ProcessStatus) -> None:
    """Return when another process does its work; of two that work only one may be missing."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while (now := processes(cluster)[killed.name]).restarts == killed.restarts or not is_at_work(cluster, now):
            await asyncio.sleep(0.05)
    assert now.last_exit == "killed by SIGKILL"


def is_at_work(cluster: ClusterLayout, process: ProcessStatus) -> bool:
    if component_of(process.name) == "etcd":
        return process.pid != 0
    return bool(process.pid and last_beat(cluster.pulse(process.name), process.pid))


async def until_deployed(transport: Transport, name: str, replicas: int) -> float:
    """Make or scale a Deployment; the seconds until its pods run, which takes controllers, scheduler and simulator."""
    began, path = time.monotonic(), f"{DEPLOYMENTS}/{name}"
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "example.org/app"}]}}
    manifest = {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }
    assert await answered(transport, "POST", DEPLOYMENTS, orjson.dumps(manifest)) in (201, 409)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                found = orjson.loads((await transport.request("GET", path)).body)
            except ApiError:
                found = {}
            if found.get("status", {}).get("readyReplicas") == replicas:
                return time.monotonic() - began
            await asyncio.sleep(0.05)


async def holder(transport: Transport, component: str) -> str:
    answer = await transport.request("GET", f"{LEASES}/{component}")
    name: str = orjson.loads(answer.body)["spec"]["holderIdentity"].partition("_")[2]
    return name


@pytest.mark.parametrize("rounds", [SHORT, pytest.param((), marks=pytest.mark.slow, id="every-process")])
async def test_any_process_may_be_killed(
    cluster: ClusterLayout, rounds: tuple[str, ...], report: Callable[[str], None]
) -> None:
    names = rounds or sorted(processes(cluster))
    async with under_load(cluster, f"one-of-{len(rounds)}") as load:
        for name in names:
            await kill(cluster, load, name)
    report(f"the longest time without an answer: {load.longest_gap:.1f} s; {len(load.acknowledged)} writes")


@pytest.mark.slow
async def test_two_processes_may_be_killed_at_once(cluster: ClusterLayout, report: Callable[[str], None]) -> None:
    """Both of a kind too; but not two members of etcd, of which three remember."""
    names = sorted(processes(cluster))
    kinds = ("kube-apiserver", "kube-scheduler", "kube-controller-manager")
    async with under_load(cluster, "two") as load:
        for pair in [*((f"{kind}-0", f"{kind}-1") for kind in kinds), *(names[number::5] for number in range(5))]:
            await kill(cluster, load, *pair)
    report(f"the longest time without an answer, of two processes killed at once: {load.longest_gap:.1f} s")


@asynccontextmanager
async def under_load(cluster: ClusterLayout, name: str) -> AsyncIterator[Load]:
    """Four write while the block runs; what they were answered is there at its end."""
    transport = load_kubeconfig(cluster.kubeconfig, user_agent="test")
    load = Load(transport, name)
    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(load.write(number)) for number in range(4)]
        await load.goes_on()
        yield load
        for writer in writers:
            writer.cancel()
    found = orjson.loads((await transport.request("GET", CONFIG_MAPS)).body)
    assert set(load.acknowledged) <= {item["metadata"]["name"] for item in found["items"]}
    await transport.close()


async def kill(cluster: ClusterLayout, load: Load, *names: str) -> None:
    """Kill these processes at once; return when writes are answered, pods are made and placed, and each runs again."""
    victims = [processes(cluster)[name] for name in names]
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    await load.goes_on()
    await until_deployed(load.transport, f"after-{load.name}-{names[0]}", len(names))
    for victim in victims:
        await until_restarted(cluster, victim)


@pytest.mark.slow
async def test_a_leader_that_hangs_is_replaced(cluster: ClusterLayout) -> None:
    transport = load_kubeconfig(cluster.kubeconfig, user_agent="test")
    for component in ("kube-scheduler", "kube-controller-manager"):
        before = await holder(transport, component)
        pid = processes(cluster)[before].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(RECOVERY_SECONDS):
                while await holder(transport, component) in ("", before):
                    await asyncio.sleep(0.1)
            await until_deployed(transport, f"without-{before}", 2)
        finally:
            # On a slow machine it may have been killed for being silent so long.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    await transport.close()


async def test_a_watch_goes_on_at_the_other_server(cluster: ClusterLayout) -> None:
    """A client that resumes where its connection broke misses nothing and sees nothing twice."""
    transport = load_kubeconfig(cluster.kubeconfig, user_agent="test")
    seen, stop = list[str](), 60

    async def follow() -> None:
        listing = orjson.loads((await transport.request("GET", CONFIG_MAPS)).body)
        revision = listing["metadata"]["resourceVersion"]
        while len(seen) < stop:
            query = {"watch": "true", "resourceVersion": revision, "labelSelector": "watched=yes"}
            try:
                async for line in transport.stream(CONFIG_MAPS, query=query):
                    event: Any = orjson.loads(line)
                    assert event["type"] == "ADDED", event
                    revision = event["object"]["metadata"]["resourceVersion"]
                    seen.append(event["object"]["metadata"]["name"])
                    if len(seen) == stop:
                        return
            except ApiError:
                await asyncio.sleep(0.05)

    async with asyncio.timeout(2 * RECOVERY_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        await asyncio.sleep(0.5)
        for number in range(stop):
            metadata = {"name": f"watched-{number}", "labels": {"watched": "yes"}}
            assert await answered(transport, "POST", CONFIG_MAPS, orjson.dumps({"metadata": metadata})) in (201, 409)
            if number in (20, 40):
                victim = processes(cluster)[f"kube-apiserver-{number // 40}"]
                os.kill(victim.pid, signal.SIGKILL)
                await until_restarted(cluster, victim)
    assert seen == [f"watched-{number}" for number in range(stop)]
    await transport.close()


@pytest.mark.slow
async def test_a_configuration_that_needs_new_processes_costs_no_request(cluster: ClusterLayout) -> None:
    transport = load_kubeconfig(cluster.kubeconfig, user_agent="test")
    spec, before = read_spec(cluster), processes(cluster)
    assert spec is not None
    write_spec(cluster, replace(spec, cluster=replace(spec.cluster, audited=not spec.cluster.audited)))
    number = 0
    async with asyncio.timeout(2 * RECOVERY_SECONDS):
        while not all(
            component_of(name) == "etcd" or (now.pid != before[name].pid and is_at_work(cluster, now))
            for name, now in processes(cluster).items()
        ):
            body = orjson.dumps({"metadata": {"name": f"meanwhile-{number}"}})
            assert (await transport.request("POST", CONFIG_MAPS, body=body)).status == 201
            number += 1
    assert number > 0
    await transport.close()


@pytest.mark.slow
async def test_the_service_may_be_killed_with_what_it_looks_after(cluster: ClusterLayout) -> None:
    """The cluster goes on without it; the next one finds what lives and starts what has died meanwhile."""
    layout, before = Layout(cluster.root.parent.parent), processes(cluster)
    victims = ["etcd-1", "kube-apiserver-1", "kube-scheduler-0", "kube-controller-manager-1"]
    async with under_load(cluster, "alone") as load:
        os.kill(int(layout.lock.read_text()), signal.SIGKILL)
        for name in victims:
            os.kill(before[name].pid, signal.SIGKILL)
            await load.goes_on()
        await until_deployed(load.transport, "without-service", 2)
        await asyncio.to_thread(kobune, layout.root, "up")
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not all(
                now.pid != before[name].pid and is_at_work(cluster, now)
                for name, now in processes(cluster).items()
                if name in victims
            ):
                await asyncio.sleep(0.05)
        await load.goes_on()
    now = processes(cluster)
    assert {name for name in now if now[name].pid != before[name].pid} == set(victims)
