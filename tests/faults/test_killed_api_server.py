"""API servers killed under a load of HTTPS requests: what was answered is there, and a watch that resumes has missed nothing."""

import asyncio
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.errors import ApiError, Gone, ServiceUnavailable
from kobune.client.kubeconfig import load_kubeconfig
from kobune.client.transport import Transport

URL = "/api/v1/namespaces/default/configmaps"


class Server:
    """`kobune kube-apiserver` as a process."""

    def __init__(self, folder: Path, store: Sequence[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self._folder = folder
        self._command = [
            sys.executable, "-m", "kobune", "kube-apiserver", "--bind-address", "127.0.0.1", "--secure-port", str(port),
            "--cert-dir", str(folder / "pki"), *store,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    async def transport(self) -> Transport:
        """A client of this server, once it answers."""
        path = self._folder / "pki" / "admin.kubeconfig"
        async with asyncio.timeout(60):
            while not path.exists():
                await asyncio.sleep(0.05)
            transport = load_kubeconfig(path, user_agent="test")
            await until_answered(transport, "GET", URL)
        return transport


async def until_answered(transport: Transport, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    while True:
        try:
            answer = await transport.request(method, path, body=body)
        except ServiceUnavailable:
            await asyncio.sleep(0.05)
            continue
        if answer.status < 500:
            return answer.status, orjson.loads(answer.body)
        await asyncio.sleep(0.05)


async def count_up(transport: Transport, name: str, stop: asyncio.Event) -> int:
    """Count in an object's data until told to stop, but to ten; the last number that was answered."""
    number = 0
    obj: Any = {"metadata": {"name": name}, "data": {"number": "0"}}
    status, obj = await until_answered(transport, "POST", URL, orjson.dumps(obj))
    if status == 409:
        # Made by the request whose answer was lost.
        status, obj = await until_answered(transport, "GET", f"{URL}/{name}")
    while number < 10 or not stop.is_set():
        number += 1
        wanted = orjson.dumps({**obj, "data": {"number": str(number)}})
        status, answer = await until_answered(transport, "PUT", f"{URL}/{name}", wanted)
        if status == 409:
            status, answer = await until_answered(transport, "GET", f"{URL}/{name}")
        # Nobody else writes it, so it is what was written last, by the request answered or by one whose answer was lost.
        assert answer["data"] == {"number": str(number)}, f"{name} should be at {number}"
        obj = answer
    return number


async def follow(transport: Transport, numbers: dict[str, int]) -> None:
    """Keep up with all counters by list and watch, resuming as clients do; none may go back or leave out a number."""
    revision = ""
    while True:
        try:
            if not revision:
                _, listing = await until_answered(transport, "GET", URL)
                for item in listing["items"]:
                    name, number = item["metadata"]["name"], int(item["data"].get("number", -1))
                    assert number >= numbers.get(name, -1), "a list showed the past"
                    numbers[name] = number
                revision = listing["metadata"]["resourceVersion"]
            query = {"watch": "true", "resourceVersion": revision}
            async for line in transport.stream(URL, query=query):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    revision = ""
                    break
                metadata = event["object"]["metadata"]
                assert int(metadata["resourceVersion"]) > int(revision)
                revision = metadata["resourceVersion"]
                number = int(event["object"]["data"].get("number", -1))
                assert number == numbers.get(metadata["name"], -1) + 1, "a watch left out a change or repeated one"
                numbers[metadata["name"]] = number
        except Gone:
            revision = ""
        except ApiError:
            await asyncio.sleep(0.05)


async def play(servers: Sequence[Server], rounds: int, dice: random.Random) -> None:
    stop, numbers = asyncio.Event(), dict[str, int]()
    transports = [await server.transport() for server in servers]
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(transports[-1], numbers))
        counters = [
            tasks.create_task(count_up(transports[number % len(servers)], f"counter-{number}", stop))
            for number in range(6)
        ]
        for _ in range(rounds):
            await asyncio.sleep(dice.uniform(0.2, 1.0))
            server = dice.choice(servers)
            server.kill()
            server.start()
            await (await server.transport()).close()
        stop.set()
        reached = {f"counter-{number}": await counter for number, counter in enumerate(counters)}
        async with asyncio.timeout(20):
            while any(numbers.get(name, -1) < number for name, number in reached.items()):
                await asyncio.sleep(0.05)
        following.cancel()
    for transport in transports:
        _, listing = await until_answered(transport, "GET", URL)
        found = {item["metadata"]["name"]: int(item["data"].get("number", -1)) for item in listing["items"]}
        assert {name: found[name] for name in reached} == reached
        await transport.close()


@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
async def test_embedded_store(tmp_path: Path, rounds: int) -> None:
    server = Server(tmp_path, ["--store", f"sqlite:{tmp_path}/state.db"])
    try:
        await play([server], rounds, random.Random(rounds))
    finally:
        server.kill()


@pytest.mark.etcd
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_two_servers_on_etcd(tmp_path: Path, etcd: str) -> None:
    servers = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            servers.append(Server(tmp_path / name, ["--etcd-servers", etcd]))
        await play(servers, 12, random.Random(7))
    finally:
        for server in servers:
            server.kill()
