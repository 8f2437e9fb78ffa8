"""An API server starts fast because it imports late what few requests need."""

import subprocess
import sys

# What costs more to import than it gives to a server that has just started.
LATE = (
    "typer", "click", "rich",  # The command line.
    "aiohttp", "yarl",  # Kubelets, webhooks, aggregated servers, and requests that are not plain.
    "kobune.controlplane.apiserver.general", "kobune.controlplane.apiserver.kubelets",
    "cel_expr_python",  # Admission policies and custom resources with rules.
    "yaml", "numpy", "grpc", "google.protobuf", "pydantic",
)  # fmt: skip

START = """
import asyncio, sys
from pathlib import Path
import kobune.cli.main
import kobune.cli.kube_apiserver
from kobune.api.clock import SystemClock
from kobune.host.api_server import prepare_api_server
from kobune.host.api_server_flags import ApiServerFlags
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.server import ApiServer
from kobune.host.stores import StoreFlags, open_store

async def main():
    config, _, _ = prepare_api_server(ApiServerFlags(cert_dir=Path(sys.argv[1])), SystemClock().now())
    store = await open_store(StoreFlags(f"sqlite:{sys.argv[1]}/state.db"))
    async with ApiServer(config, store, clock=SystemClock()) as server:
        async with serve(server, host="127.0.0.1", port=0, tls=None) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /readyz HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
    await store.close()

asyncio.run(main())
print(*sys.modules)
"""


def test_a_server_that_has_started_has_not_imported_what_it_may_never_need(tmp_path):
    started = subprocess.run([sys.executable, "-c", START, tmp_path], check=True, capture_output=True, text=True)
    assert {"asyncio", "kobune.controlplane.apiserver.server"} <= set(started.stdout.split())
    assert not set(LATE) & set(started.stdout.split())


CLUSTER = """
import asyncio, sys
from kobune.testing import Cluster

async def main():
    async with Cluster():
        print(*sys.modules)

asyncio.run(main())
"""


def test_a_test_cluster_that_is_ready_has_not_imported_an_http_library():
    started = subprocess.run([sys.executable, "-c", CLUSTER], check=True, capture_output=True, text=True)
    # NumPy is the scheduler's.
    assert set(LATE) & set(started.stdout.split()) == {"numpy"}
