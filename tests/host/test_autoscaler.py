"""The autoscaler with a real API server, a real scheduler and the scheduler's own judgement; in virtual time."""

import asyncio
import contextlib
import random

import msgspec
import pytest

from kobune.aks.clusters import AutoscalerProfile, Cluster, NodePool
from kobune.aks.instances import Instances, new_instances, with_new
from kobune.api.errors import ApiError
from kobune.api.objects.core import ConfigMap, Node, Pod
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.events import CoreEvent
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.autoscaler.autoscaler import ClusterAutoscaler
from kobune.controlplane.autoscaler.model import Group, Settings
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.autoscaler import group_of, seconds, settings_of
from kobune.host.autoscaler_mirror import ClusterMirror
from kobune.host.autoscaler_wish import AutoscalerWish, take_wish
from kobune.host.autoscaling import read_priorities
from kobune.host.control_plane import Parts, control_plane
from kobune.host.local import LocalTransport
from kobune.host.spec import Spec
from kobune.testing.virtual import VirtualClock, run_virtual

READY = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}


def node(name, pool, cpu="4", ready=True):
    labels = {"agentpool": pool, "kubernetes.io/hostname": name}
    there = {"cpu": cpu, "memory": "16Gi", "pods": "30"}
    status = {"capacity": there, "allocatable": there, "conditions": [READY | {"status": str(ready)}]}
    return {"metadata": {"name": name, "labels": labels}, "status": status}


class Pools:
    """Groups whose machines become nodes `after` seconds; never where it is None."""

    def __init__(self, client, clock, after=30.0, **pools):
        self.client, self.clock, self.after = client, clock, after
        self.bounds, self.cpus = {name: each[:2] for name, each in pools.items()}, {}
        self.targets, self.machines = dict.fromkeys(pools, 0), {name: {} for name in pools}
        self.cpus = {name: each[2] for name, each in pools.items()}
        self.made, self.removed = 0, []

    async def read(self):
        groups = []
        for name, (lowest, highest) in self.bounds.items():
            template = msgspec.convert(node(name, name, self.cpus[name]), Node)
            groups.append(Group(name, template, self.targets[name], lowest, highest, dict(self.machines[name])))
        return groups

    async def increase(self, targets):
        for name, target in targets.items():
            for _ in range(target - self.targets[name]):
                self.made += 1
                machine = f"{name}-{self.made}"
                self.machines[name][machine] = self.clock.now().timestamp()
                if self.after is not None:
                    self.tasks.create_task(self._join(machine, name))
            self.targets[name] = target

    async def _join(self, machine, pool):
        await self.clock.sleep(self.after)
        await self.client.create(Node, node(machine, pool, self.cpus[pool]))
        # Nobody else takes the taint of a new node away.
        await self.client.patch(Node, Key("", machine), {"spec": {"taints": None}})

    async def remove(self, machines):
        for machine in machines:
            pool = machine.split("-")[0]
            del self.machines[pool][machine]
            self.targets[pool] -= 1
            self.removed.append(machine)
            with contextlib.suppress(ApiError):
                await self.client.delete(Node, Key("", machine))


async def add_pod(client, name, cpu="1500m", owner=True, **spec):
    meta = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    if owner:
        meta["ownerReferences"] = [OWNER]
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    await client.create(
        Pod, {"metadata": meta, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}}
    )


def story(*, settings=None, after=30.0, pools=None):
    """Run the test inside a cluster with an autoscaler, in virtual time."""

    def decorate(test):
        async def whole():
            clock = VirtualClock()
            config = ApiServerConfig(disabled_admission_plugins=("ServiceAccount",))
            parts = Parts(controllers="")
            async with control_plane(config, MemoryStore(), parts, clock=clock, seed=1) as server:
                client = Client(LocalTransport(server, MASTER))
                groups = Pools(client, clock, after, **(pools or {"np1": (0, 5, "4")}))
                rng = random.Random(1)
                mirror = ClusterMirror(client, clock=clock, rng=rng)
                autoscaler = ClusterAutoscaler(
                    client, groups, mirror.look, settings or Settings(), clock=clock, rng=rng
                )
                async with asyncio.TaskGroup() as tasks:
                    groups.tasks = tasks
                    running = [tasks.create_task(mirror.run()), tasks.create_task(autoscaler.run())]
                    await test(client, groups, clock)
                    for task in running:
                        task.cancel()

        @pytest.mark.timeout(60)
        def run():
            run_virtual(whole())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


async def reasons(client):
    return {(event.reason, event.message) for event in (await client.list(CoreEvent)).items}


async def names(client):
    return {each.name for each in (await client.list(Node)).items}


@story()
async def test_a_pool_grows_from_nothing_for_pods_that_fit_nowhere(client, pools, clock):
    for number in range(3):
        await add_pod(client, f"p{number}")
    await clock.sleep(60)
    assert pools.targets == {"np1": 2}  # Two fit on a node.
    assert ("TriggeredScaleUp", "pod triggered scale-up: [{np1 0->2 (max: 5)}]") in await reasons(client)
    assert all(pod.spec.node_name for pod in (await client.list(Pod)).items)
    found = await client.get(ConfigMap, Key("kube-system", "cluster-autoscaler-status"))
    assert "cloudProviderTarget: 2" in found.data["status"]


@story(after=120.0)
async def test_nodes_on_their_way_are_counted_on(client, pools, clock):
    await add_pod(client, "one")
    await clock.sleep(25)
    await add_pod(client, "two")
    await clock.sleep(80)
    assert pools.targets == {"np1": 1}


@story()
async def test_a_pod_that_no_pool_helps_is_told_why(client, pools, clock):
    await add_pod(client, "huge", cpu="64")
    await clock.sleep(30)
    assert ("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 Insufficient cpu") in await reasons(client)
    assert pools.targets == {"np1": 0}


@story(pools={"np1": (0, 1, "4")})
async def test_a_full_pool_is_said_to_be_full(client, pools, clock):
    for number in range(4):
        await add_pod(client, f"p{number}")
    await clock.sleep(90)
    assert pools.targets == {"np1": 1}
    full = "pod didn't trigger scale-up: 1 max node group size reached"
    assert ("NotTriggerScaleUp", full) in await reasons(client)


@story(settings=Settings(new_pod_scale_up_delay=60.0))
async def test_a_new_pod_is_waited_with(client, pools, clock):
    await add_pod(client, "one")
    await clock.sleep(55)
    assert pools.targets == {"np1": 0}
    await clock.sleep(30)
    assert pools.targets == {"np1": 1}


@story(after=None, settings=Settings(max_node_provision_time=300.0))
async def test_machines_that_never_become_nodes_are_given_back_and_the_pool_rests(client, pools, clock):
    await add_pod(client, "one")
    await clock.sleep(290)
    assert pools.targets == {"np1": 1}
    await clock.sleep(60)
    assert pools.targets == {"np1": 0}
    assert pools.removed == ["np1-1"]
    await clock.sleep(200)
    assert pools.targets == {"np1": 0}  # Backed off for five minutes.
    await clock.sleep(100)
    assert pools.targets == {"np1": 1}


@story(pools={"small": (0, 5, "2"), "large": (0, 5, "16")}, settings=Settings(expander=("least-waste",)))
async def test_the_expander_chooses_the_pool(client, pools, clock):
    await add_pod(client, "one")
    await clock.sleep(30)
    assert pools.targets == {"small": 1, "large": 0}


@story(pools={"np1": (0, 5, "4"), "np2": (0, 5, "4")}, settings=Settings(balance_similar_node_groups=True))
async def test_similar_pools_grow_together(client, pools, clock):
    for number in range(8):
        await add_pod(client, f"p{number}")
    await clock.sleep(30)
    assert pools.targets == {"np1": 2, "np2": 2}


@story()
async def test_empty_nodes_go_after_ten_minutes_and_not_sooner(client, pools, clock):
    for number in range(4):
        await add_pod(client, f"p{number}")
    await clock.sleep(60)
    assert pools.targets == {"np1": 2}
    for pod in (await client.list(Pod)).items:
        await client.delete(Pod, pod.key, grace_seconds=0)
    await clock.sleep(560)
    assert pools.targets == {"np1": 2}
    await clock.sleep(120)
    assert pools.targets == {"np1": 0}
    assert ("ScaleDown", "node removed by cluster autoscaler") in await reasons(client)


@story()
async def test_a_node_that_may_soon_go_is_marked_until_it_is_needed(client, pools, clock):
    for number in range(2):
        await add_pod(client, f"p{number}")
    await clock.sleep(60)
    for pod in (await client.list(Pod)).items:
        await client.delete(Pod, pod.key, grace_seconds=0)
    await clock.sleep(30)
    [there] = (await client.list(Node)).items
    assert [(taint.key, taint.effect) for taint in there.spec.taints] == [
        ("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule")
    ]
    await add_pod(client, "again", cpu="3")
    await clock.sleep(30)
    assert not (await client.get(Node, there.key)).spec.taints


QUICK = Settings(scale_down_unneeded_time=60.0, scale_down_delay_after_add=30.0)


@story(settings=QUICK)
async def test_a_little_used_node_is_emptied_onto_another(client, pools, clock):
    for number in range(4):
        await add_pod(client, f"p{number}")
    await clock.sleep(60)
    pods = {pod.name: pod for pod in (await client.list(Pod)).items}
    first, *others = pods.values()
    mate = next(pod for pod in others if pod.spec.node_name == first.spec.node_name)
    stranger = next(pod for pod in others if pod.spec.node_name != first.spec.node_name)
    for pod in (mate, stranger):
        await client.delete(Pod, pod.key, grace_seconds=0)
    await clock.sleep(120)
    assert pools.targets == {"np1": 1}
    assert ("ScaleDown", "deleting pod for node scale down") in await reasons(client)


@story(settings=QUICK)
async def test_a_pod_of_nobody_keeps_its_node(client, pools, clock):
    await add_pod(client, "alone", owner=False, cpu="100m")
    await clock.sleep(300)
    assert pools.targets == {"np1": 1}


@story(settings=QUICK)
async def test_a_node_whose_annotation_says_so_is_kept(client, pools, clock):
    await add_pod(client, "one")
    await clock.sleep(45)
    [name] = await names(client)
    keep = {"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}
    await client.patch(Node, Key("", name), {"metadata": {"annotations": keep}})
    await client.delete(Pod, Key("default", "one"), grace_seconds=0)
    await clock.sleep(300)
    assert pools.targets == {"np1": 1}
    await client.patch(Node, Key("", name), {"metadata": {"annotations": None}})
    await clock.sleep(120)
    assert pools.targets == {"np1": 0}


@story(settings=QUICK, pools={"np1": (1, 5, "4")})
async def test_a_pool_keeps_its_least(client, pools, clock):
    for number in range(4):
        await add_pod(client, f"p{number}")
    await clock.sleep(60)
    for pod in (await client.list(Pod)).items:
        await client.delete(Pod, pod.key, grace_seconds=0)
    await clock.sleep(300)
    assert pools.targets == {"np1": 1}


PRIORITIES = {"metadata": {"name": "cluster-autoscaler-priority-expander", "namespace": "kube-system"}}
TWO = {"small": (0, 5, "4"), "spot": (0, 5, "4")}


@story(pools=TWO, settings=Settings(expander=("priority",)))
async def test_the_priority_expander_follows_its_config_map_as_it_changes(client, pools, clock):
    await client.create(ConfigMap, PRIORITIES | {"data": {"priorities": "10:\n- .*\n50:\n- ^spot\n"}})
    await add_pod(client, "one", cpu="3")
    await clock.sleep(60)
    assert pools.targets == {"small": 0, "spot": 1}
    data = {"data": {"priorities": "10:\n- .*\n50:\n- ^small\n"}}
    await client.patch(ConfigMap, Key("kube-system", "cluster-autoscaler-priority-expander"), data)
    await add_pod(client, "two", cpu="3")
    await clock.sleep(60)
    assert pools.targets == {"small": 1, "spot": 1}


# Between the autoscaler and the service.

POOL = NodePool("np1", 2, autoscaling=True, min_count=0, max_count=5)
CLUSTER = Cluster("demo", "1.36.1", (POOL,))


def instances():
    known = Instances(pools={"np1": POOL}, targets={"np1": 2})
    return with_new(known, new_instances(CLUSTER, POOL, 2, known, now=5.0, room=0))


def test_a_wish_is_taken_once():
    name = instances().machines[0].name
    wish = AutoscalerWish(1, {"np1": 1}, (name,))
    taken = take_wish(instances(), wish)
    assert taken.targets == {"np1": 1}
    assert [each.unwanted for each in taken.machines] == [True, False]
    assert take_wish(taken, wish) is taken


def test_a_pool_is_a_group_of_its_machines_that_stay():
    taken = take_wish(instances(), AutoscalerWish(1, {"np1": 1}, (instances().machines[0].name,)))
    group = group_of(Spec(CLUSTER, 6443), taken, POOL)
    assert (group.target, group.min_size, group.max_size) == (1, 0, 5)
    assert group.machines == {taken.machines[1].name: 5.0}
    assert group.template.status.allocatable["cpu"] == "1900m"


@pytest.mark.parametrize("text, expected", [("10m", 600.0), ("1h30m", 5400.0), ("0s", 0.0), ("1m30s", 90.0)])
def test_durations_are_read_as_written(text, expected):
    assert seconds(text) == expected


def test_the_defaults_are_those_of_aks():
    assert settings_of(AutoscalerProfile()) == Settings()


def test_priorities_are_read_and_nonsense_passed_over():
    assert read_priorities("10:\n- .*\n50:\n- ^spot\n- '['\n") == {10: [".*"], 50: ["^spot"]}
    assert read_priorities("{") == {}
    assert read_priorities("just words") == {}
