"""Any process killed under a load of HTTPS requests: what was answered is there, and a watch that resumes has missed nothing."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.errors import ApiError, Gone, ServiceUnavailable
from kobune.client.transport import Transport

URL = "/api/v1/namespaces/default/configmaps"


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
        await asyncio.sleep(0.02)
    return number


async def follow(transport: Transport, numbers: dict[str, int], expired: list[str]) -> None:
    """Keep up with all counters by list and watch, resuming as clients do; none may go back or leave out a number.

    Revisions from which the server could not go on, so that everything had to be listed anew, are added to `expired`.
    """
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
                    expired.append(revision)
                    revision = ""
                    break
                metadata = event["object"]["metadata"]
                assert int(metadata["resourceVersion"]) > int(revision)
                revision = metadata["resourceVersion"]
                number = int(event["object"]["data"].get("number", -1))
                assert number == numbers.get(metadata["name"], -1) + 1, "a watch left out a change or repeated one"
                numbers[metadata["name"]] = number
        except Gone:
            expired.append(revision)
            revision = ""
        except ApiError:
            await asyncio.sleep(0.05)


async def play(servers: Sequence[Any], processes: Sequence[Any], rounds: int, dice: random.Random) -> None:
    """Kill one of the processes in each round, at a random moment, while six count and one watches."""
    stop, numbers, expired, killed = asyncio.Event(), dict[str, int](), list[str](), list[Any]()
    transports = [await server.ready() for server in servers]
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(transports[-1], numbers, expired))
        counters = [
            tasks.create_task(count_up(transports[number % len(servers)], f"counter-{number}", stop))
            for number in range(6)
        ]
        for _ in range(rounds):
            await asyncio.sleep(dice.uniform(0.0, 0.4))
            process = dice.choice(processes)
            killed.append(process)
            process.kill()
            process.start()
            await process.is_back()
        stop.set()
        reached = {f"counter-{number}": await counter for number, counter in enumerate(counters)}
        async with asyncio.timeout(20):
            while any(numbers.get(name, -1) < number for name, number in reached.items()):
                await asyncio.sleep(0.05)
        following.cancel()
    assert len(expired) <= killed.count(servers[-1]), "a watch ended though its server lived"
    for transport in transports:
        _, listing = await until_answered(transport, "GET", URL)
        found = {item["metadata"]["name"]: int(item["data"].get("number", -1)) for item in listing["items"]}
        assert {name: found[name] for name in reached} == reached
        await transport.close()


LONG = pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.parametrize("rounds", [1, LONG])
async def test_embedded_store(tmp_path: Path, start_api_server: Callable[..., Any], rounds: int) -> None:
    server = start_api_server("--store", f"sqlite:{tmp_path}/state.db")
    await play([server], [server], rounds, random.Random(rounds))


@pytest.mark.etcd
@pytest.mark.parametrize("rounds", [LONG])
async def test_two_servers_on_three_members_of_etcd(
    members: Any, start_api_server: Callable[..., Any], rounds: int
) -> None:
    servers = [start_api_server(*members.flags) for _ in range(2)]
    await play(servers, [*servers, *members.all], rounds, random.Random(rounds))
