"""A node is emptied as far as disruption budgets let its pods go."""

import pytest

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Node, Pod
from kobune.api.objects.meta import Key
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.drain import cordon, drain, remove_node
from kobune.host.local import LocalTransport

RUNNING = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
DAEMON = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}]


@pytest.fixture
async def client():
    """A client of an API server alone."""
    config = ApiServerConfig(disabled_admission_plugins=("ServiceAccount",))
    async with ApiServer(config, MemoryStore(), clock=SystemClock()) as server:
        yield Client(LocalTransport(server, MASTER))


async def add_pod(client, name, *, owners=(), annotations=None):
    meta = {"name": name, "namespace": "default", "labels": {"app": name}, "ownerReferences": list(owners)}
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}], "terminationGracePeriodSeconds": 0}
    await client.create(Pod, {"metadata": meta | {"annotations": annotations or {}}, "spec": spec})
    await client.patch_status(Pod, Key("default", name), RUNNING)


async def names(client):
    return {pod.name for pod in (await client.list(Pod)).items}


async def test_a_drain_leaves_daemons_and_names_the_budget_that_blocks_it(client):
    await client.create(Node, {"metadata": {"name": "n1"}})
    await add_pod(client, "free")
    await add_pod(client, "daemon", owners=DAEMON)
    await add_pod(client, "kept")
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}}
    await client.create(PodDisruptionBudget, {"metadata": {"name": "b", "namespace": "default"}, "spec": budget})
    await client.patch_status(
        PodDisruptionBudget,
        Key("default", "b"),
        {
            "observedGeneration": 1,
            "disruptionsAllowed": 0,
            "desiredHealthy": 1,
            "currentHealthy": 1,
            "expectedPods": 1,
        },
    )
    await cordon(client, "n1")
    assert (await client.get(Node, Key("", "n1"))).spec.unschedulable
    left = await drain(client, "n1")
    assert left.pods == 2  # As they were found: "free" was asked to go.
    assert "eviction of pod default/kept: Cannot evict pod" in left.blocked
    assert "The disruption budget b needs 1 healthy pods" in left.blocked
    assert await names(client) == {"daemon", "kept"}
    assert (await drain(client, "n1")).pods == 1
    await cordon(client, "n1", on=False)
    assert not (await client.get(Node, Key("", "n1"))).spec.unschedulable


async def test_a_node_leaves_with_what_is_bound_to_it(client):
    await client.create(Node, {"metadata": {"name": "n1"}})
    await add_pod(client, "daemon", owners=DAEMON)
    await remove_node(client, "n1")
    assert await names(client) == set()
    assert (await client.list(Node)).items == []
    await remove_node(client, "n1")  # Whoever comes after a kill does it again.
