"""How long until many simulated nodes are Ready, and until many pods run on them? Prints one JSON line per stage.

`python benchmarks/simulated.py [NODES] [PODS]`: a whole control plane and the nodes in this one process, store in memory.
Pods are made by one client with 16 requests under way, placed by the scheduler, and counted by a watch.
"""

import asyncio
import json
import resource
import sys
import time

import uvloop

from kobune.api.objects.core import ServiceAccount
from kobune.api.objects.meta import Key
from kobune.client.informer import Informer
from kobune.host.loops import patient_collector
from kobune.node.simulator.views import SimPod
from kobune.testing import Cluster

AT_ONCE = 16


async def measure(nodes: int, pods: int) -> None:
    began = start()
    async with Cluster(nodes=nodes) as cluster, asyncio.TaskGroup() as tasks:
        report("nodes Ready", nodes, began)
        # Pods are refused until the ServiceAccount controller has come by.
        while await cluster.client.find(ServiceAccount, Key("default", "default")) is None:
            await asyncio.sleep(0.01)
        running = asyncio.Event()
        left = pods

        def count(old: SimPod | None, new: SimPod | None) -> None:
            nonlocal left
            if new is not None and new.status.phase == "Running" and (old is None or old.status.phase != "Running"):
                left -= 1
                if left == 0:
                    running.set()

        # The control plane's cost is the question: whoever counts reads little, and does not read what it creates.
        watch = Informer(cluster.client, SimPod)
        watch.on_change(count)
        watching = tasks.create_task(watch.run())
        await watch.synced()

        names = iter(range(pods))
        containers = [{"name": "main", "image": "kobune.local/busybox"}]

        async def make() -> None:
            for number in names:
                meta = {"name": f"pod-{number}", "namespace": "default"}
                await cluster.client.add(SimPod, {"metadata": meta, "spec": {"containers": containers}})

        began = start()
        async with asyncio.TaskGroup() as makers:
            for _ in range(AT_ONCE):
                makers.create_task(make())
        report("pods created", pods, began)
        await running.wait()
        report("pods Running", pods, began)
        watching.cancel()


def start() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def report(stage: str, count: int, began: tuple[float, float]) -> None:
    """Beside the time on the wall the processor's, which other work on the machine does not lengthen."""
    figures = {
        "seconds": round(time.perf_counter() - began[0], 2),
        "cpu_seconds": round(time.process_time() - began[1], 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps({"bench": "simulated", "stage": stage, "count": count, **figures}), flush=True)


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]] or [5_000, 10_000]
    with patient_collector():  # As every process of a control plane has it.
        uvloop.run(measure(sizes[0], sizes[1]))
