"""How much memory do 100,000 nodes take? Prints one JSON line for the scheduler's tables and one for a control plane.

`python benchmarks/large_cluster.py [--nodes 100000] [--stages tables control-plane]`. Each stage has a process of its own,
so that each has a peak of its own. The tables hold AKS nodes as the API server sends them, and one pod is placed; the
control plane is a whole one with simulated nodes, the store in memory, measured when all are Ready.
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import time
from typing import Any

import msgspec
import orjson
import uvloop

from kobune.aks.clusters import Cluster as ManagedCluster
from kobune.aks.clusters import NodePool
from kobune.aks.versions import DEFAULT_VERSION
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE
from kobune.api.objects.core import Node
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodParser
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.host.simulation import always, node_manifest
from kobune.node.simulator.nodes import conditions
from kobune.testing import Cluster

STAGES = ("tables", "control-plane")
REQUESTS = {"cpu": "100m", "memory": "128Mi"}


async def fill(table: NodeTable, count: int) -> None:
    """Nodes of one pool, each read from JSON as an informer reads it."""
    pool = NodePool("large", count, DEFAULT_VM_SIZE, 110, simulated=True)
    decode = msgspec.json.Decoder(Node, strict=False).decode
    async for wanted in always(ManagedCluster("large", DEFAULT_VERSION, (pool,))):
        for name in wanted.born:
            manifest = node_manifest(wanted.shape(name))
            manifest["status"]["conditions"] = conditions("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
            table.put_node(decode(orjson.dumps(manifest)))


def tables(count: int) -> dict[str, float]:
    table, parser = NodeTable(), PodParser()
    asyncio.run(fill(table, count))
    profile = build_profile(ProfileConfiguration(), Listers()).profile
    seconds = []
    for number in range(10):
        container = {"name": "c", "image": "busybox", "resources": {"requests": REQUESTS}}
        manifest = {"metadata": {"name": f"pod-{number}", "uid": str(number)}, "spec": {"containers": [container]}}
        pod = parser.parse(msgspec.convert(manifest, Pod))
        began = time.perf_counter()
        row = profile.find_node(pod, table, Nominations(), random.Random(1))
        assert row is not None
        table.add_pod(pod, table.names[row])
        seconds.append(time.perf_counter() - began)
    return {"first_pod_ms": round(seconds[0] * 1e3, 1), "next_pod_ms": round(min(seconds[1:]) * 1e3, 2)}


async def control_plane(count: int) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    async with Cluster(nodes=count):
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--here", action="store_true", help="run the one stage in this process")
    options = parser.parse_args()
    for stage in options.stages:
        if not options.here:
            again = [sys.executable, __file__, "--here", "--nodes", str(options.nodes), "--stages", stage]
            subprocess.run(again, check=True)
            continue
        found: dict[str, Any] = tables(options.nodes) if stage == "tables" else uvloop.run(control_plane(options.nodes))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"bench": f"large_cluster/{stage}", "nodes": options.nodes, **found, "peak_mib": peak}), flush=True)


if __name__ == "__main__":
    main()
