"""How much memory do 100,000 nodes take? Prints one JSON line for the scheduler's tables and one for a control plane.

`python benchmarks/large_cluster.py [--nodes 100000] [--stages tables control-plane]`. Each stage has a process of its own,
so that each has a peak of its own. The tables hold AKS nodes as the API server sends them, and ten pods are placed; the
control plane is a whole one over a file, as `kobune up` has it, with simulated nodes, measured when pods may go to all.
It takes many minutes, so it is measured only when asked for.
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import orjson
import uvloop

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.versions import DEFAULT_VERSION
from kobune.aks.vm_sizes import DEFAULT_VM_SIZE
from kobune.api.clock import SystemClock
from kobune.api.objects.core import Node, Taint
from kobune.api.objects.meta import GVK, Object, View
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodParser
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.host.control_plane import Parts
from kobune.host.control_plane import control_plane as control_plane_of
from kobune.host.local import LocalTransport
from kobune.host.simulation import always, node_manifest
from kobune.node.simulator.nodes import conditions

STAGES = ("tables", "control-plane")
REQUESTS = {"cpu": "100m", "memory": "128Mi"}


def cluster_of(count: int) -> Cluster:
    pool = NodePool("large", count, DEFAULT_VM_SIZE, 110, simulated=True)
    return Cluster("large", DEFAULT_VERSION, (pool,))


async def fill(table: NodeTable, count: int) -> None:
    """Nodes of one pool, each read from JSON as an informer reads it."""
    decode = msgspec.json.Decoder(Node, strict=False).decode
    async for wanted in always(cluster_of(count)):
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


class NodeTaints(View):
    taints: list[Taint] = msgspec.field(default_factory=list)


class Joining(Object):
    """Of a node, whether pods may go there: little, for there are many."""

    gvk: ClassVar[GVK] = Node.gvk
    spec: NodeTaints = msgspec.field(default_factory=NodeTaints)


async def all_joined(client: Client, count: int) -> None:
    """Return when pods may go to so many nodes; only their names are kept, for all else would count as the cluster's."""
    listing = await client.list(Joining)
    joined = {node.name for node in listing.items if not node.spec.taints}
    revision = listing.revision
    while len(joined) < count:
        async for event in client.watch(Joining, revision=revision):
            revision = event.object.metadata.resource_version
            if event.type == "MODIFIED" and not event.object.spec.taints:
                joined.add(event.object.name)
            if len(joined) == count:
                return


async def control_plane(count: int) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "state.db")
        config = ApiServerConfig(authorization_mode=("AlwaysAllow",))
        parts = Parts(simulated=always(cluster_of(count)))
        async with control_plane_of(config, store, parts, clock=SystemClock()) as server:
            await all_joined(Client(LocalTransport(server, MASTER)), count)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        await store.close()
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=["tables"])
    parser.add_argument("--here", action="store_true", help="run the one stage in this process")
    options = parser.parse_args()
    for stage in options.stages:
        if not options.here:
            again = [sys.executable, __file__, "--here", "--nodes", str(options.nodes), "--stages", stage]
            subprocess.run(again, check=True)
            continue
        found: dict[str, Any] = tables(options.nodes) if stage == "tables" else uvloop.run(control_plane(options.nodes))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            json.dumps({"bench": f"large_cluster/{stage}", "nodes": options.nodes, **found, "peak_mib": peak}),
            flush=True,
        )


if __name__ == "__main__":
    main()
