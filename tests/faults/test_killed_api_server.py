"""Any process killed under a load of HTTPS requests: what was answered is there, and a watch that resumes has missed nothing."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

LONG = pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.parametrize("rounds", [1, LONG])
async def test_embedded_store(
    tmp_path: Path, start_api_server: Callable[..., Any], counting: Callable[..., Any], rounds: int
) -> None:
    server = start_api_server("--store", f"sqlite:{tmp_path}/state.db")
    async with counting([server]) as counters:
        await kill([server], rounds)
    assert len(counters.expired) <= rounds


@pytest.mark.etcd
@pytest.mark.parametrize("rounds", [2, LONG])
async def test_two_servers_on_three_members_of_etcd(
    members: Any, start_api_server: Callable[..., Any], counting: Callable[..., Any], rounds: int
) -> None:
    servers = [start_api_server(*members.flags) for _ in range(2)]
    async with counting(servers) as counters:
        killed = await kill([*servers, *members.all], rounds)
    assert len(counters.expired) <= killed.count(servers[-1]), "a watch ended though its server lived"


async def kill(processes: Sequence[Any], rounds: int) -> list[Any]:
    """Kill one of the processes in each round, at a random moment; those that were killed."""
    dice, killed = random.Random(rounds), list[Any]()
    for _ in range(rounds):
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        killed.append(dice.choice(processes))
        killed[-1].kill()
        killed[-1].start()
        await killed[-1].is_back()
    return killed
