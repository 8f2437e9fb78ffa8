"""Many clients at once: watches that wait for long, and connections that all come in one moment. None is dropped."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from kobune.api.errors import ServiceUnavailable
from kobune.client.kubeconfig import load_kubeconfig
from kobune.client.transport import Transport

MAPS = "/api/v1/namespaces/default/configmaps"
# Of the server, for each idle watch with its TLS connection. OpenSSL alone takes some 50 KB of it.
MOST_KILOBYTES = 200


class Server:
    """`kobune kube-apiserver` as a process."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.kubeconfig = folder / "pki" / "admin.kubeconfig"
        command = [sys.executable, "-m", "kobune", "kube-apiserver", "--bind-address", "127.0.0.1",
                   "--secure-port", str(port), "--cert-dir", str(folder / "pki"), "--store", "memory"]  # fmt: skip
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    async def client(self) -> Transport:
        """A client with connections of its own, once the server answers."""
        async with asyncio.timeout(60):
            while not self.kubeconfig.exists():
                await asyncio.sleep(0.05)
            transport = load_kubeconfig(self.kubeconfig, user_agent="test")
            while True:
                try:
                    await transport.request("GET", MAPS)
                    return transport
                except ServiceUnavailable:
                    await asyncio.sleep(0.05)

    def kilobytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.mark.parametrize("watches", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_idle_watches(server: Server, watches: int) -> None:
    first = await server.client()
    # A client has a hundred connections at most.
    clients = [load_kubeconfig(server.kubeconfig, user_agent="test") for _ in range(watches // 100)]
    before, began, told = server.kilobytes(), asyncio.Event(), list[str]()
    open_ones = 0

    async def watch(client: Transport) -> None:
        nonlocal open_ones
        query = {"watch": "true", "sendInitialEvents": "true", "allowWatchBookmarks": "true",
                 "resourceVersionMatch": "NotOlderThan"}  # fmt: skip
        async for line in client.stream(MAPS, query=query):
            event = orjson.loads(line)
            if event["type"] == "BOOKMARK":
                open_ones += 1
                if open_ones == watches:
                    began.set()
            else:
                told.append(event["object"]["metadata"]["name"])
                return

    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        for number in range(watches):
            tasks.create_task(watch(clients[number % len(clients)]))
        await began.wait()
        idle = server.kilobytes()
        created = orjson.dumps({"metadata": {"name": "news"}})
        assert (await first.request("POST", MAPS, body=created)).status == 201
    assert told == ["news"] * watches
    each = (idle - before) / watches
    print(f"{watches} idle watches: {idle / 1024:.0f} MB, {each:.0f} KB each")
    assert each < MOST_KILOBYTES
    for client in (first, *clients):
        await client.close()


async def test_two_hundred_clients_that_connect_at_once(server: Server) -> None:
    first = await server.client()
    clients = [load_kubeconfig(server.kubeconfig, user_agent="test") for _ in range(200)]
    before, began = server.kilobytes(), time.monotonic()
    async with asyncio.timeout(100):
        answers = await asyncio.gather(*(client.request("GET", MAPS) for client in clients))
    assert [answer.status for answer in answers] == [200] * 200
    seconds, grown = time.monotonic() - began, server.kilobytes() - before
    print(f"200 clients at once: all answered within {seconds:.1f} s, {grown / 1024:.0f} MB more")
    for client in (first, *clients):
        await client.close()
