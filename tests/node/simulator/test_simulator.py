"""Simulated nodes over a real API server: nodes come up, pods run and end, with no more writes than needed."""

import asyncio
import random
import time
from contextlib import asynccontextmanager

from kobune.api.clock import SystemClock
from kobune.api.errors import Json
from kobune.api.objects.coordination import Lease
from kobune.api.objects.core import Node, Pod
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.node.simulator.simulator import Simulator


def manifests(count: int) -> list[Json]:
    return [
        {
            "metadata": {"name": f"node-{number}"},
            "spec": {"podCIDR": f"10.244.{number}.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": f"10.224.0.{number + 4}"}]},
        }
        for number in range(count)
    ]


@asynccontextmanager
async def simulated(client: Client, count: int = 2):
    simulator = Simulator(client, manifests(count), clock=SystemClock(), rng=random.Random(1))
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(simulator.run())
        async with asyncio.timeout(10):
            await simulator.registered()
        yield simulator
        work.cancel()


async def run_pod(client: Client, name: str, *, node: str = "node-0", annotations: dict[str, str] | None = None,
                  **spec: object) -> None:  # fmt: skip
    meta = {"name": name, "namespace": "default", "annotations": annotations or {}}
    containers = [{"name": "main", "image": "web"}]
    await client.create(Pod, {"metadata": meta, "spec": {"nodeName": node, "containers": containers, **spec}})


async def wait_for(client: Client, name: str, check) -> Pod | None:
    async with asyncio.timeout(10):
        while True:
            pod = await client.find(Pod, Key("default", name))
            if check(pod):
                return pod
            await asyncio.sleep(0.01)


async def test_nodes_are_ready_once_registered_and_leases_follow(client: Client):
    async with simulated(client, 3):
        nodes = (await client.list(Node)).items
        assert [node.is_ready for node in nodes] == [True, True, True]
        async with asyncio.timeout(10):
            while not (await client.list(Lease, "kube-node-lease")).items:
                await asyncio.sleep(0.1)


async def test_a_pod_runs_with_an_address_of_its_node_after_one_write(client: Client):
    async with simulated(client):
        await run_pod(client, "p", node="node-1")
        pod = await wait_for(client, "p", lambda pod: pod.status.phase == "Running")
        assert pod.is_ready
        assert (pod.status.pod_ip, pod.status.host_ip) == ("10.244.1.2", "10.224.0.5")
        assert pod.status.container_statuses[0].state.running is not None
        version = pod.metadata.resource_version
        await asyncio.sleep(0.1)
        assert (await client.get(Pod, Key("default", "p"))).metadata.resource_version == version


async def test_a_pod_ends_as_its_annotations_say(client: Client):
    async with simulated(client):
        ends = {"kobune.local/sim-exit-after": "100ms", "kobune.local/sim-exit-code": "3"}
        await run_pod(client, "job", annotations=ends, restartPolicy="Never")
        pod = await wait_for(client, "job", lambda pod: pod.is_finished)
        terminated = pod.status.container_statuses[0].state.terminated
        assert (pod.status.phase, terminated.exit_code, terminated.reason) == ("Failed", 3, "Error")

        await run_pod(client, "loop", annotations=ends, restartPolicy="Always")
        pod = await wait_for(client, "loop", lambda pod: any(c.restart_count for c in pod.status.container_statuses))
        assert pod.status.container_statuses[0].last_state.terminated is None or pod.status.phase == "Running"

        stuck = {"kobune.local/sim-failure": "ImagePullBackOff"}
        await run_pod(client, "stuck", annotations=stuck)
        pod = await wait_for(client, "stuck", lambda pod: pod.status.container_statuses)
        assert (pod.status.phase, pod.status.container_statuses[0].state.waiting.reason) == (
            "Pending",
            "ImagePullBackOff",
        )


async def test_a_deleted_pod_goes_after_the_time_it_takes(client: Client):
    async with simulated(client):
        await run_pod(client, "quick")
        await run_pod(client, "slow", annotations={"kobune.local/sim-stop-after": "2s"})
        # Deletion times are whole seconds, so up to one of the two may be over when the deletion is asked for.
        for name, at_least in ("quick", 0), ("slow", 1):
            await wait_for(client, name, lambda pod: pod.status.phase == "Running")
            begin = time.monotonic()
            await client.delete(Pod, Key("default", name), grace_seconds=30)
            await wait_for(client, name, lambda pod: pod is None)
            assert time.monotonic() - begin >= at_least


async def test_a_restarted_simulator_goes_on_where_the_last_one_stopped(client: Client):
    async with simulated(client):
        await run_pod(client, "old")
        before = await wait_for(client, "old", lambda pod: pod.status.phase == "Running")
    async with simulated(client):
        await run_pod(client, "new")
        after = await wait_for(client, "new", lambda pod: pod.status.phase == "Running")
        assert after.status.pod_ip != before.status.pod_ip
        assert (await client.get(Pod, Key("default", "old"))).status.pod_ip == before.status.pod_ip
