"""How much memory does a control plane take, idle and with pods? Prints one JSON line for each question.

The control plane is the one of `kobune up`: API server, store, scheduler and controllers in one process.

Usage: python benchmarks/memory.py [--pods 10000]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kobune.api.objects.core import Pod
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig

AT_ONCE = 16
SETTLE_SECONDS = 10  # Imports on first use and the first round of every controller are over by then.


def pod(name: str) -> dict[str, object]:
    """About 2 KB as sent; no node takes it, so that only keeping it is measured."""
    env = [{"name": f"VARIABLE_{index}", "value": "x" * 60} for index in range(16)]
    container = {"name": "main", "image": "kobune.local/busybox", "command": ["sleep", "1000"], "env": env}
    spec = {"containers": [container], "nodeName": "nowhere", "automountServiceAccountToken": False}
    return {"metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}}, "spec": spec}


async def fill(kubeconfig: Path, count: int) -> None:
    """Create the pods."""
    client = Client(load_kubeconfig(kubeconfig))
    names = iter(range(count))

    async def work() -> None:
        for number in names:
            await client.create(Pod, pod(f"pod-{number}"))

    try:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    finally:
        await client.transport.close()


def resident_mb(pid: int) -> float:
    """The process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    count = parser.parse_args().pods
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KOBUNE_HOME": folder}

        def kobune(*arguments: str) -> str:
            command = [sys.executable, "-m", "kobune", *arguments]
            return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

        kobune("up", "--nodes", "0")
        try:
            [cluster] = json.loads(kobune("status", "-o", "json"))["clusters"]
            pid = cluster["processes"][0]["pid"]
            time.sleep(SETTLE_SECONDS)
            idle = resident_mb(pid)
            print(json.dumps({"bench": "idle control plane", "megabytes": round(idle, 1)}), flush=True)
            asyncio.run(fill(Path(cluster["kubeconfig"]), count))
            time.sleep(SETTLE_SECONDS)
            each = (resident_mb(pid) - idle) * 1000 / count
            print(json.dumps({"bench": "1,000 pods in a control plane", "pods": count, "megabytes": round(each, 2)}))
        finally:
            kobune("down", "--purge")


if __name__ == "__main__":
    main()
