"""Many clients at once: watches that wait for long, and connections that all come in one moment. None is dropped."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from kobune.client.transport import Transport

MAPS = "/api/v1/namespaces/default/configmaps"
# Of the server, for each idle watch with its TLS connection. OpenSSL alone takes some 50 KB of it.
MOST_KILOBYTES = 200
Report = Callable[[str], None]


@pytest.fixture
def server(start_api_server: Callable[..., Any]) -> Any:
    return start_api_server("--store", "memory")


@pytest.mark.parametrize("watches", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_idle_watches(server: Any, watches: int, report: Report) -> None:
    first = await server.ready()
    # A client has a hundred connections at most.
    clients = [server.client() for _ in range(watches // 100)]
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
    report(f"{watches} idle watches: {idle / 1024:.0f} MB, {each:.0f} KB each")
    assert each < MOST_KILOBYTES
    for client in (first, *clients):
        await client.close()


async def test_two_hundred_clients_that_connect_at_once(server: Any, report: Report) -> None:
    first = await server.ready()
    clients = [server.client() for _ in range(200)]
    before, began = server.kilobytes(), time.monotonic()
    async with asyncio.timeout(100):
        answers = await asyncio.gather(*(client.request("GET", MAPS) for client in clients))
    assert [answer.status for answer in answers] == [200] * 200
    seconds, grown = time.monotonic() - began, server.kilobytes() - before
    report(f"200 clients at once: all answered within {seconds:.1f} s, {grown / 1024:.0f} MB more")
    for client in (first, *clients):
        await client.close()
