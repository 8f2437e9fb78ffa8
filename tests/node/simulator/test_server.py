"""The endpoint of simulated kubelets tells that its pods are simulated, in the forms a kubelet answers in."""

import asyncio
import json
import random
import socket

import aiohttp
import pytest

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Pod
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.node.simulator.server import serve
from kobune.node.simulator.simulator import Simulator


@pytest.fixture
async def kubelet(client: Client):
    """A session with the endpoint of one simulated node on which one pod runs."""
    node = {
        "metadata": {"name": "node-0"},
        "spec": {"podCIDR": "10.244.0.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.224.0.4"}]},
    }
    simulator = Simulator(client, [node], clock=SystemClock(), rng=random.Random(1))
    sock = socket.create_server(("127.0.0.1", 0))
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(simulator.run())
        await simulator.registered()
        containers = [{"name": "main", "image": "web", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}]
        meta = {"name": "p", "namespace": "default"}
        await client.create(Pod, {"metadata": meta, "spec": {"nodeName": "node-0", "containers": containers}})
        async with asyncio.timeout(10):
            while (await client.get(Pod, Key("default", "p"))).status.phase != "Running":
                await asyncio.sleep(0.01)
        async with serve(simulator, sock, None) as place, aiohttp.ClientSession(f"http://{place}") as session:
            yield session
        work.cancel()


async def test_logs_are_one_line_that_says_what_it_is(kubelet: aiohttp.ClientSession):
    async with kubelet.get("/containerLogs/default/p/main") as answer:
        assert await answer.text() == "p/main is simulated: no process runs behind this line\n"
    async with kubelet.get("/containerLogs/default/p/main?tailLines=0") as answer:
        assert await answer.text() == ""


@pytest.mark.parametrize("path", ["/containerLogs/default/none/main", "/containerLogs/default/p/none"])
async def test_what_is_not_there_is_not_found(kubelet: aiohttp.ClientSession, path: str):
    async with kubelet.get(path) as answer:
        assert answer.status == 404
        assert "not found" in await answer.text()


async def test_a_command_is_not_run_and_fails_like_one_that_cannot_be_found(kubelet: aiohttp.ClientSession):
    async with kubelet.ws_connect("/exec/default/p/main?command=ls", protocols=["v5.channel.k8s.io"]) as channel:
        frames = [message.data async for message in channel]
    assert frames[0] == b"\x01p/main is simulated: 'ls' was not run\n"
    status = json.loads(frames[1][1:])
    assert (frames[1][:1], status["reason"]) == (b"\x03", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "127"}]


async def test_usage_is_what_was_asked_for(kubelet: aiohttp.ClientSession):
    async with kubelet.get("/stats/summary") as answer:
        (pod,) = (await answer.json())["pods"]
    assert pod["containers"][0]["cpu"]["usageNanoCores"] == 250_000_000
    assert pod["containers"][0]["memory"]["workingSetBytes"] == 64 << 20
