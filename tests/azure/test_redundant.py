"""A cluster of tier Standard, made by ARM: any one process of its control plane may die under writes."""

import asyncio
import base64
import os
import signal
import time

import orjson
import pytest

from kobune.api.errors import ServiceUnavailable
from kobune.client.kubeconfig import load_kubeconfig
from kobune.host.layout import Layout
from kobune.host.spec import read_spec, read_status

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(400)]

GROUP = "resourceGroups/ha"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c1"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
WAIT_SECONDS = 120.0  # Generous: other work may keep the machine busy.


def test_an_api_server_and_a_member_of_etcd_are_killed_and_no_write_is_lost(killed_service, tmp_path):
    service = killed_service
    assert service.call("PUT", GROUP, {"location": "westeurope"})[0] == 201
    pool = {"name": "np1", "count": 1, "mode": "System"}
    properties = {"dnsPrefix": "ha", "agentPoolProfiles": [pool]}
    body = {"location": "westeurope", "sku": {"name": "Base", "tier": "Standard"}, "properties": properties}
    status, answer, headers = service.call("PUT", CLUSTER, body)
    assert status == 201, answer
    deadline = time.monotonic() + WAIT_SECONDS
    while (state := service.call("GET", headers["Azure-AsyncOperation"])[1])["status"] == "InProgress":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert state["status"] == "Succeeded", state
    assert service.call("GET", CLUSTER)[1]["sku"]["tier"] == "Standard"
    credential = service.call("POST", f"{CLUSTER}/listClusterAdminCredential")[1]["kubeconfigs"][0]["value"]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(base64.b64decode(credential))
    layout = Layout(service.state_dir)
    [name] = layout.cluster_names()
    assert read_spec(layout.cluster(name)).is_redundant
    asyncio.run(kill_under_writes(kubeconfig, layout.cluster(name)))


async def kill_under_writes(kubeconfig, layout):
    transport = load_kubeconfig(kubeconfig, user_agent="test")
    acknowledged = []

    async def write():
        while True:
            name = f"write-{len(acknowledged)}"
            try:
                body = orjson.dumps({"metadata": {"name": name}})
                answer = await transport.request("POST", CONFIG_MAPS, body=body)
            except ServiceUnavailable:
                await asyncio.sleep(0.05)
                continue
            if answer.status in (201, 409):  # 409: done by the request whose answer was lost.
                acknowledged.append(name)

    async def goes_on(writes=30):
        wanted = len(acknowledged) + writes
        async with asyncio.timeout(WAIT_SECONDS):
            while len(acknowledged) < wanted:
                await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write())
        await goes_on()
        for victim in ("kube-apiserver-0", "etcd-1"):
            before = next(process for process in read_status(layout).processes if process.name == victim)
            os.kill(before.pid, signal.SIGKILL)
            await goes_on()
            async with asyncio.timeout(WAIT_SECONDS):
                while not is_back(layout, victim, before.restarts):
                    await asyncio.sleep(0.05)
        await goes_on()
        writing.cancel()
    listed = orjson.loads((await transport.request("GET", CONFIG_MAPS)).body)["items"]
    assert set(acknowledged) <= {item["metadata"]["name"] for item in listed}
    await transport.close()


def is_back(layout, name, restarts):
    return any(
        process.name == name and process.pid and process.restarts > restarts
        for process in read_status(layout).processes
    )
