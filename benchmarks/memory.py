"""How much memory does a control plane take, idle and with pods? Prints one JSON line for each question.

The control plane is the one of `kobune up`: API server, store, scheduler and controllers in one process.

Usage: python benchmarks/memory.py [--pods 10000] [--restart]
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


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """A field of the process's status: what is resident now, or (VmHWM) was at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def say(bench: str, **figures: float) -> None:
    print(json.dumps({"bench": bench, **{name: round(figure, 2) for name, figure in figures.items()}}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--restart", action="store_true", help="measure also a control plane that starts with the pods")
    options = parser.parse_args()
    count = options.pods
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KOBUNE_HOME": folder}

        def kobune(*arguments: str) -> str:
            command = [sys.executable, "-m", "kobune", *arguments]
            return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

        def up() -> tuple[int, Path]:
            kobune("up", "--nodes", "0")
            [cluster] = json.loads(kobune("status", "-o", "json"))["clusters"]
            time.sleep(SETTLE_SECONDS)
            return cluster["processes"][0]["pid"], Path(cluster["kubeconfig"])

        try:
            pid, kubeconfig = up()
            idle = memory_mb(pid)
            say("idle control plane", megabytes=idle)
            asyncio.run(fill(kubeconfig, count))
            time.sleep(SETTLE_SECONDS)
            full = memory_mb(pid)
            say("a control plane after so many pods were created", pods=count, megabytes=full)
            say("1,000 pods in a control plane", pods=count, megabytes=(full - idle) * 1000 / count)
            if options.restart:
                kobune("down")
                pid, _ = up()
                peak = memory_mb(pid, "VmHWM")
                say("a control plane started with so many pods", pods=count, megabytes=memory_mb(pid), peak=peak)
        finally:
            kobune("down", "--purge")


if __name__ == "__main__":
    main()
