"""Pools of a running cluster with simulated nodes, in virtual time: hours of drains and soaks cost nothing."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from kobune.aks.clusters import Cluster, NodePool, UpgradeSettings
from kobune.aks.reservations import NodeOs
from kobune.api.objects.apps import Deployment
from kobune.api.objects.core import Node, Pod
from kobune.api.objects.meta import Key
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.client.client import Client
from kobune.client.events import CoreEvent
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.control_plane import Parts, control_plane
from kobune.host.credentials import SERVICE
from kobune.host.engine import Engine
from kobune.host.instances import simulated_nodes
from kobune.host.layout import Layout
from kobune.host.local import LocalTransport
from kobune.host.spec import OperationState, Spec, new_wish, write_spec
from kobune.testing.virtual import VirtualClock, run_virtual

OLD, NEW = "1.36.1", "1.37.0"
FAST = UpgradeSettings(max_surge="1", drain_timeout_minutes=5)


class Service:
    """What `kobune serve` does for the machines of one cluster, a look each second."""

    def __init__(self, folder, client, clock, tasks):
        self.layout, self.client, self.clock, self.tasks = Layout(folder).cluster("demo"), client, clock, tasks
        kubeconfig = self.layout.component_kubeconfig(SERVICE)
        kubeconfig.parent.mkdir(parents=True)
        kubeconfig.touch()  # The engine's word that there is a control plane.
        self.engine = Engine(
            self.layout, clock=clock, rng=random.Random(1), room=lambda: 0, open_client=lambda path, clock: client
        )
        self.seen = []  # Moments and what was so at each look.

    async def wish(self, kind, *pools, minutes=120):
        """Ask for these pools; how the operation ended, within so many minutes."""
        self.ask(kind, *pools)
        return await self.outcome(minutes)

    def ask(self, kind, *pools):
        self.spec = Spec(Cluster("demo", NEW, pools or self.spec.cluster.pools), 6443, wish=new_wish(kind))
        write_spec(self.layout, self.spec)

    async def outcome(self, minutes=120):
        deadline = self.clock.monotonic() + minutes * 60
        while self.clock.monotonic() < deadline:
            await self.look()
            operation = self.engine.instances.operation
            if operation.id == self.spec.wish.id and operation.state is not OperationState.IN_PROGRESS:
                return operation
        raise AssertionError(f"still {operation} after {minutes} minutes: {self.states()}")

    async def look(self, times=1):
        for _ in range(times):
            await self.engine.look(self.spec, self.tasks)
            await self.clock.sleep(1)
            self.seen.append((self.clock.monotonic(), self.states()))

    def states(self):
        return {state.name[-1]: state.state.value for state in self.engine.states(halted=False)}

    async def nodes(self):
        return {node.name[-1]: node for node in (await self.client.list(Node)).items}

    async def deploy(self, replicas, budget=None):
        """A Deployment whose pods do not share nodes while there are enough, once its pods run."""
        labels = {"app": "web"}
        spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        spec = {
            "containers": [{"name": "c", "image": "example.org/web"}],
            "topologySpreadConstraints": [spread | {"labelSelector": {"matchLabels": labels}}],
        }
        template = {"metadata": {"labels": labels}, "spec": spec}
        body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        await self.client.create(Deployment, {"metadata": {"name": "web", "namespace": "default"}, "spec": body})
        if budget is not None:
            body = {"selector": {"matchLabels": labels}, "minAvailable": budget}
            meta = {"name": "web", "namespace": "default"}
            await self.client.create(PodDisruptionBudget, {"metadata": meta, "spec": body})
        await self.until_running(replicas)

    async def until_running(self, replicas):
        for _ in range(120):
            pods = await self.pods()
            if sum(pods.values()) == replicas:
                await self.clock.sleep(5)  # The budget's status follows.
                return pods
            await self.clock.sleep(1)
        raise AssertionError((await self.client.list(Pod)).items)

    async def pods(self):
        """Running pods by the last digit of their node's name."""
        pods = (await self.client.list(Pod)).items
        return Counter(pod.spec.node_name[-1] for pod in pods if pod.is_ready and not pod.is_deleting)

    async def reasons(self):
        return {event.reason for event in (await self.client.list(CoreEvent)).items}


def story(test):
    """Run the test with a cluster of its own in virtual time."""

    @pytest.mark.timeout(120)
    def run(tmp_path):
        async def whole():
            clock = VirtualClock()
            layout = Layout(tmp_path).cluster("demo")
            parts = Parts(simulated=simulated_nodes(layout, clock))
            config = ApiServerConfig(cluster_version=NEW)
            async with control_plane(config, MemoryStore(), parts, clock=clock, seed=1) as server:
                client = Client(LocalTransport(server, MASTER))
                async with asyncio.TaskGroup() as tasks:
                    service = Service(tmp_path, client, clock, tasks)
                    await test(service)
                    await service.engine.access.close()

        run_virtual(whole())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def pool(count=3, version=OLD, **more):
    return NodePool("np1", count, simulated=True, kubernetes_version=version, **{"upgrade": FAST, **more})


def succeeded(outcome):
    assert outcome.state is OperationState.SUCCEEDED, outcome
    return True


@story
async def test_named_machines_are_deleted_and_their_pods_move(service):
    assert succeeded(await service.wish("create", pool()))
    await service.deploy(3)
    name = next(node.name for digit, node in (await service.nodes()).items() if digit == "1")
    assert succeeded(await service.wish("delete-machines", pool(2, removed=(name,))))
    assert service.states() == {"0": "Running", "2": "Running"}
    assert set(await service.nodes()) == {"0", "2"}
    assert set(await service.until_running(3)) == {"0", "2"}


@story
async def test_an_upgrade_keeps_what_a_budget_asks_for_and_ends_with_every_node_new(service):
    assert succeeded(await service.wish("create", pool()))
    await service.deploy(3, budget=2)
    service.ask("upgrade", pool(version=NEW))
    least = 3
    while not (operation := service.engine.instances.operation) or operation.id != service.spec.wish.id:
        await service.look()
    while service.engine.instances.operation.state is OperationState.IN_PROGRESS:
        await service.look()
        least = min(least, sum((await service.pods()).values()))
    assert succeeded(service.engine.instances.operation)
    assert least >= 2
    nodes = await service.nodes()
    assert set(nodes) == {"0", "1", "2"}
    assert {node.status.node_info.kubelet_version for node in nodes.values()} == {f"v{NEW}"}
    assert {"Surge", "Drain", "Upgrade"} <= await service.reasons()


@story
async def test_a_drain_that_a_budget_blocks_fails_and_the_node_takes_pods_again(service):
    assert succeeded(await service.wish("create", pool(2)))
    await service.deploy(2, budget=2)
    began = service.clock.monotonic()
    outcome = await service.wish("upgrade", pool(2, version=NEW))
    assert service.clock.monotonic() - began > 5 * 60
    assert (outcome.state, outcome.code) == (OperationState.FAILED, "UpgradeFailed")
    assert "after 5 minutes: eviction of pod default/web-" in outcome.message
    assert "The disruption budget web needs 2 healthy pods" in outcome.message
    nodes = await service.nodes()
    assert set(nodes) == {"0", "1"}  # The surge node is gone.
    assert not any(node.spec.unschedulable for node in nodes.values())
    assert sum((await service.pods()).values()) == 2
    await service.client.delete(PodDisruptionBudget, Key("default", "web"))
    assert succeeded(await service.wish("upgrade", pool(2, version=NEW)))


@story
async def test_a_node_that_cannot_be_drained_is_quarantined_where_the_pool_says_so(service):
    settings = replace(FAST, undrainable="Cordon")
    assert succeeded(await service.wish("create", pool(upgrade=settings)))
    await service.deploy(1, budget=1)
    [stuck] = await service.pods()
    outcome = await service.wish("upgrade", pool(version=NEW, upgrade=settings))
    assert outcome.state is OperationState.FAILED
    nodes = await service.nodes()
    assert nodes[stuck].spec.unschedulable
    assert nodes[stuck].metadata.labels["kubernetes.azure.com/upgrade-status"] == "Quarantined"
    others = [node for digit, node in nodes.items() if digit != stuck]
    assert len(others) == 3  # A surge node has taken its place.
    assert {node.status.node_info.kubelet_version for node in others} == {f"v{NEW}"}
    assert [*await service.pods()] == [stuck]


@story
async def test_a_new_node_soaks_before_the_next_one_is_drained(service):
    settings = replace(FAST, node_soak_minutes=10)
    assert succeeded(await service.wish("create", pool(2, upgrade=settings)))
    assert succeeded(await service.wish("upgrade", pool(2, version=NEW, upgrade=settings)))
    first, second = sorted(machine.born for machine in service.engine.instances.machines)
    assert 600 <= second - first < 700


@story
async def test_without_surge_as_many_nodes_go_at_once_as_may_be_unavailable(service):
    settings = replace(FAST, max_surge="0", max_unavailable="2")
    assert succeeded(await service.wish("create", pool(4, mode="User", upgrade=settings)))
    service.seen.clear()
    assert succeeded(await service.wish("upgrade", pool(4, version=NEW, mode="User", upgrade=settings)))
    assert {len(states) for _, states in service.seen} == {4}
    assert min(list(states.values()).count("Running") for _, states in service.seen) == 2


@story
async def test_an_aborted_upgrade_leaves_no_node_cordoned_and_the_same_call_goes_on(service):
    assert succeeded(await service.wish("create", pool(2)))
    await service.deploy(2, budget=2)
    service.ask("upgrade", pool(2, version=NEW))
    while "Draining" not in service.states().values():
        await service.look()
    await service.look(times=30)
    outcome = await service.wish("abort", pool(2, version=NEW))
    assert outcome.state is OperationState.CANCELED
    nodes = await service.nodes()
    assert set(nodes) == {"0", "1"}
    assert not any(node.spec.unschedulable for node in nodes.values())
    await service.client.delete(PodDisruptionBudget, Key("default", "web"))
    assert succeeded(await service.wish("upgrade", pool(2, version=NEW)))


@story
async def test_a_stopped_pool_has_no_nodes_and_gets_the_same_ones_back(service):
    assert succeeded(await service.wish("create", pool(2, mode="User")))
    await service.deploy(2)
    assert succeeded(await service.wish("update", pool(2, mode="User", running=False)))
    assert await service.nodes() == {}
    assert set(service.states().values()) == {"Stopped"}
    assert succeeded(await service.wish("update", pool(2, mode="User")))
    assert set(await service.nodes()) == {"0", "1"}
    await service.until_running(2)


@story
async def test_an_evicted_spot_machine_is_replaced_and_nobody_is_asked(service):
    spot = pool(2, mode="User", spot=True)
    assert succeeded(await service.wish("create", spot))
    [first, _] = (await service.nodes()).values()
    assert [taint.key for taint in first.spec.taints] == ["kubernetes.azure.com/scalesetpriority"]
    service.seen.clear()
    assert succeeded(await service.wish("update", replace(spot, evicted=(first.name,))))
    assert set(await service.nodes()) == {"1", "2"}
    assert not any("Draining" in states.values() for _, states in service.seen)


@story
async def test_a_node_image_comes_to_every_node(service):
    image = "AKSUbuntu-2404gen2containerd-202608.12.0"
    assert succeeded(await service.wish("create", pool(2, image_version=image)))
    newest = image.replace("12", "26")
    assert succeeded(await service.wish("node-image", pool(2, image_version=newest)))
    labels = [node.metadata.labels for node in (await service.nodes()).values()]
    assert {each["kubernetes.azure.com/node-image-version"] for each in labels} == {newest}


@story
async def test_windows_nodes_run_windows_pods_alone(service):
    windows = replace(pool(1, mode="User", os=NodeOs.WINDOWS, os_sku="Windows2022"), name="win")
    assert succeeded(await service.wish("create", pool(1), windows))
    await service.deploy(1)
    nodes = {node.metadata.labels["kubernetes.io/os"]: node for node in (await service.client.list(Node)).items}
    assert nodes["windows"].name.startswith("akswin")
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "windows"}}}}}
    await service.client.patch(Deployment, Key("default", "web"), patch)
    for _ in range(60):
        await service.clock.sleep(1)
        pods = (await service.client.list(Pod)).items
        if [pod.spec.node_name for pod in pods if pod.is_ready] == [nodes["windows"].name]:
            return
    raise AssertionError([pod.spec.node_name for pod in pods])


@story
async def test_scaling_in_waits_for_budgets_and_says_which_one_blocks(service):
    assert succeeded(await service.wish("create", pool(2)))
    await service.deploy(2, budget=2)
    outcome = await service.wish("scale", pool(1))
    assert (outcome.state, outcome.code) == (OperationState.FAILED, "PodDrainFailure")
    assert "disruption budget web" in outcome.message
    assert not any(node.spec.unschedulable for node in (await service.nodes()).values())
