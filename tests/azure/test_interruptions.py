"""`kobune serve` is killed at any moment of an operation: the next one goes on, and a repeat of the call converges."""

import asyncio
import random
import time

import pytest

from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig
from kobune.host.layout import Layout

GROUP = "resourceGroups/kill"
MAPS = "/api/v1/namespaces/default/configmaps"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c1"
# Version and number of nodes: creation, scaling out, an upgrade, scaling in, …
STEPS = (("1.34", 1), ("1.34", 4), ("1.35", 4), ("1.35", 2), ("1.36", 2), ("1.36", 5), ("1.37", 5), ("1.37", 1))
LONGEST_SECONDS = 2.5  # Of an operation on simulated nodes, about.


@pytest.mark.timeout(300)
def test_three_moments(killed_service):
    interrupt(killed_service, random.Random(3), moments=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thirty_moments(killed_service):
    interrupt(killed_service, random.Random(30), moments=30)


def interrupt(service, rng: random.Random, *, moments: int) -> None:
    """Go through the steps, over and over, and kill the service once in each."""
    service.call("PUT", GROUP, {"location": "westeurope"})
    for moment in range(moments):
        version, count = STEPS[moment % len(STEPS)]
        if moment and moment % len(STEPS) == 0:
            assert service.call("DELETE", CLUSTER)[0] == 202
            wait(service, lambda: service.call("GET", CLUSTER)[0] == 404)
        status, answer, headers = service.call("PUT", CLUSTER, body(version, count))
        assert status in (200, 201), answer
        time.sleep(rng.uniform(0, LONGEST_SECONDS))
        service.kill()
        service.start()
        ended = wait(service, lambda url=headers["Azure-AsyncOperation"]: _ended(service, url))
        assert ended["status"] == "Succeeded" or ended["error"]["message"], ended
        # The same call again: what is so already costs nothing, what is not is made so.
        status, answer, headers = service.call("PUT", CLUSTER, body(version, count))
        assert status == 200, answer
        assert wait(service, lambda url=headers["Azure-AsyncOperation"]: _ended(service, url))["status"] == "Succeeded"
        shown = service.call("GET", CLUSTER)[1]["properties"]
        (pool,) = shown["agentPoolProfiles"]
        assert shown["currentKubernetesVersion"].startswith(version)
        assert pool["currentOrchestratorVersion"].startswith(version)
        machines = service.call("GET", f"{CLUSTER}/agentPools/np1/machines")[1]["value"]
        assert len(machines) == count


def _ended(service, url: str):
    answer = service.call("GET", url)[1]
    return answer if answer["status"] in ("Succeeded", "Failed", "Canceled") else None


def wait(service, condition, seconds: float = 120.0):
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within two minutes"
        time.sleep(0.1)
    return found


def body(version: str, count: int) -> dict[str, object]:
    pool = {
        "name": "np1",
        "count": count,
        "mode": "System",
        "orchestratorVersion": version,
        "upgradeSettings": {"maxSurge": "100%"},
    }
    properties = {"dnsPrefix": "kill", "kubernetesVersion": version, "agentPoolProfiles": [pool]}
    return {"location": "westeurope", "properties": properties}


@pytest.mark.etcd
@pytest.mark.timeout(300)
def test_a_change_of_tier_goes_on_after_the_service_is_killed(killed_service):
    """Whatever part of the way the state is on: no object is lost, and the operation ends."""
    service, rng = killed_service, random.Random(7)
    service.call("PUT", GROUP, {"location": "westeurope"})
    service.call("PUT", CLUSTER, body("1.36", 1))
    wait(service, lambda: service.call("GET", CLUSTER)[1]["properties"]["provisioningState"] == "Succeeded")
    layout = Layout(service.state_dir).cluster("c1")
    asyncio.run(with_client(layout, lambda client: client.call("POST", MAPS, body=b'{"metadata": {"name": "kept"}}')))
    for tier in ("Standard", "Free"):
        changed = body("1.36", 1) | {"sku": {"name": "Base", "tier": tier}}
        status, answer, headers = service.call("PUT", CLUSTER, changed)
        assert status == 200, answer
        for _ in range(2):
            time.sleep(rng.uniform(0, LONGEST_SECONDS))
            service.kill()
            service.start()
        ended = wait(service, lambda url=headers["Azure-AsyncOperation"]: _ended(service, url))
        assert ended["status"] == "Succeeded", ended
        assert service.call("GET", CLUSTER)[1]["sku"]["tier"] == tier
        asyncio.run(with_client(layout, lambda client: client.call("GET", f"{MAPS}/kept")))
        members = [path.stem for path in layout.processes.glob("etcd-*.json")]
        assert len(members) == (3 if tier == "Standard" else 0)


async def with_client(layout, work) -> None:
    client = Client(load_kubeconfig(layout.kubeconfig))
    try:
        await work(client)
    finally:
        await client.transport.close()
