"""How long does `az aks create` wait for a cluster, and what do ten clusters side by side take? Prints JSON lines.

The service is asked as az asks it, by HTTPS, but polled every 50 ms, so that the time is the service's own.

Usage: python benchmarks/managed_service.py [--clusters 10]
"""

import argparse
import json
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from kobune.host.endpoint import Endpoint, read_endpoint
from kobune.host.layout import Layout
from kobune.node.machine.requirements import find_missing

POLL_SECONDS = 0.05
SETTLE_SECONDS = 10
GROUP = "resourceGroups/bench"


class Arm:
    """The service's clients' side."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tls = ssl.create_default_context(cafile=endpoint.authority)
        form = {
            "grant_type": "client_credentials",
            "client_id": endpoint.client_id,
            "client_secret": endpoint.client_secret,
            "scope": "https://management.azure.com/.default",
        }
        url = f"{endpoint.url}/{endpoint.tenant}/oauth2/v2.0/token"
        with urlopen(Request(url, data=urlencode(form).encode()), context=self._tls) as answer:
            self._token = json.load(answer)["access_token"]

    def call(self, method: str, path: str, body: object = None) -> tuple[object, dict[str, str]]:
        url = path
        if not path.startswith("https://"):
            url = f"{self._endpoint.url}/subscriptions/{self._endpoint.subscription}/{path}?api-version=2026-06-01"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = Request(url, data=json.dumps(body).encode() if body else None, headers=headers, method=method)
        with urlopen(request, context=self._tls) as answer:
            content = answer.read()
            return json.loads(content) if content else None, dict(answer.headers)

    def finish(self, method: str, path: str, body: object = None) -> float:
        """Seconds until the operation that a call began has succeeded."""
        began = time.monotonic()
        _, headers = self.call(method, path, body)
        while True:
            state, _ = self.call("GET", headers["Azure-AsyncOperation"])
            if state["status"] == "Succeeded":  # type: ignore[index]
                return time.monotonic() - began
            if state["status"] != "InProgress":  # type: ignore[index]
                raise SystemExit(f"the operation failed: {state}")
            time.sleep(POLL_SECONDS)


def cluster(name: str) -> str:
    return f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/{name}"


def body(*, nodes: int, simulated: bool) -> dict[str, object]:
    pool = {"name": "nodepool1", "mode": "System", "count": nodes, "vmSize": "Standard_D2s_v3"}
    tags = {"kobune.io/runtime": "simulated" if simulated else "real"}
    return {"location": "westeurope", "tags": tags, "properties": {"dnsPrefix": "bench", "agentPoolProfiles": [pool]}}


def megabytes(pid: int) -> float:
    """The process's memory, what it shares counted by its share."""
    smaps = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(smaps.split("Pss:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=10)
    count = parser.parse_args().clusters
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        command = [sys.executable, "-m", "kobune", "serve", "--arm-port", "0", "--state-dir", folder]
        service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while (endpoint := read_endpoint(layout)) is None:
                time.sleep(POLL_SECONDS)
            arm = Arm(endpoint)
            arm.call("PUT", GROUP, {"location": "westeurope"})
            if not find_missing():
                seconds = arm.finish("PUT", cluster("real"), body(nodes=1, simulated=False))
                print(
                    json.dumps({"bench": "create, control plane and one real node", "seconds": round(seconds, 2)}),
                    flush=True,
                )
                arm.finish("DELETE", cluster("real"))
            times = [arm.finish("PUT", cluster(f"c{n}"), body(nodes=3, simulated=True)) for n in range(count)]
            print(
                json.dumps({"bench": "create, simulated nodes", "seconds": round(sorted(times)[count // 2], 2)}),
                flush=True,
            )
            time.sleep(SETTLE_SECONDS)
            pids = [service.pid]
            for name in layout.cluster_names():
                pids += [
                    json.loads(record.read_text())["pid"] for record in layout.cluster(name).processes.glob("*.json")
                ]
            total = sum(megabytes(pid) for pid in pids)
            print(
                json.dumps({"bench": "clusters side by side", "clusters": count, "megabytes": round(total)}), flush=True
            )
        finally:
            for name in layout.cluster_names():
                down = [sys.executable, "-m", "kobune", "down", "--cluster", name, "--purge", "--state-dir", folder]
                subprocess.run(down, check=False, capture_output=True)
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
