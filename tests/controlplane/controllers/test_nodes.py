import asyncio
import contextlib

import pytest

from kobune.api.errors import ApiError
from kobune.api.objects.core import Node, NodeSpec, NodeStatus, Taint, Toleration
from kobune.api.objects.meta import Condition, ObjectMeta
from kobune.api.timestamps import format_micro, format_time
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.controllers.node_health import Disruption, Zone, plan_taints
from kobune.controlplane.controllers.taint_eviction import FOR_EVER, seconds_tolerated
from kobune.testing.virtual import START

ONLY = "node-lifecycle-controller,taint-eviction-controller,node-ipam-controller,pod-garbage-collector-controller"
UNREACHABLE, NOT_READY = "node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"


async def add_node(world, name, ready="True"):
    await world.create("nodes", {"metadata": {"name": name}}, "")
    await post_status(world, name, ready)


async def post_status(world, name, ready="True", **pressures):
    now = format_time(world.clock.now())
    kinds = {"Ready": ready, "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", **pressures}
    conditions = [
        {"type": kind, "status": status, "reason": "Kubelet", "lastHeartbeatTime": now, "lastTransitionTime": now}
        for kind, status in kinds.items()
    ]
    await world.patch("nodes", name, {"status": {"conditions": conditions}}, "", "status")


@contextlib.asynccontextmanager
async def heartbeats(world, *names):
    """Leases renewed every ten seconds; yields what to call to silence a node."""
    with contextlib.suppress(ApiError):
        await world.create("namespaces", {"metadata": {"name": "kube-node-lease"}}, "")
    silent = set()

    async def beat(name):
        await world.create("leases", {"metadata": {"name": name}, "spec": {"holderIdentity": name}}, "kube-node-lease")
        while name not in silent:
            spec = {"renewTime": format_micro(world.clock.now())}
            await world.patch("leases", name, {"spec": spec}, "kube-node-lease")
            await world.sleep(10)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(beat(name)) for name in names]
        try:
            yield silent.add
        finally:
            for task in tasks:
                task.cancel()


def pod_on(node, name="p", seconds=None):
    tolerations = [] if seconds is None else [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for key in (UNREACHABLE, NOT_READY)
    ]  # fmt: skip
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "tolerations": tolerations}
    return {"metadata": {"name": name}, "spec": spec}


def taints(node):
    return sorted((taint["key"].rpartition("/")[2], taint["effect"]) for taint in node["spec"].get("taints", ()))


def test_a_silent_node_becomes_unknown_and_its_pods_go_when_their_time_is_over(tell):
    async def story(world):
        for name in ("a", "b", "c"):
            await add_node(world, name)
        await world.create("pods", pod_on("a", seconds=300))
        async with heartbeats(world, "a", "b", "c") as silence:
            await world.sleep(120)
            healthy = await world.get("nodes", "a", "")
            silence("a")
            await world.sleep(70)
            node, pod = await world.get("nodes", "a", ""), await world.get("pods", "p")
            await world.sleep(250)
            still = (await world.get("pods", "p"))["metadata"].get("deletionTimestamp")
            await world.sleep(40)
            return healthy, node, pod, still, await world.find("pods", "p"), await world.list("events", "")

    healthy, node, pod, still, after, events = tell(story, ONLY)
    assert taints(healthy) == []
    conditions = {each["type"]: (each["status"], each["reason"]) for each in node["status"]["conditions"]}
    assert set(conditions.values()) == {("Unknown", "NodeStatusUnknown")}
    assert taints(node) == [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]
    assert [each["status"] for each in pod["status"]["conditions"] if each["type"] == "Ready"] == ["False"]
    assert still is None
    assert after is None or after["metadata"].get("deletionTimestamp")
    reasons = {event["reason"]: event["message"] for event in events}
    assert reasons["TaintManagerEviction"] == "Marking for deletion Pod default/p"


def test_a_node_that_comes_back_in_time_keeps_its_pods(tell):
    async def story(world):
        for name in ("a", "b"):
            await add_node(world, name)
        await world.create("pods", pod_on("a", seconds=300))
        async with heartbeats(world, "b"):
            await world.sleep(70)
            away = await world.get("nodes", "a", "")
            async with heartbeats(world, "a"):
                await post_status(world, "a")
                await world.sleep(600)
                return away, await world.get("nodes", "a", ""), await world.find("pods", "p")

    away, back, pod = tell(story, ONLY)
    assert ("unreachable", "NoExecute") in taints(away)
    assert taints(back) == []
    assert pod["metadata"].get("deletionTimestamp") is None


def test_when_every_node_falls_silent_nobody_is_evicted(tell):
    async def story(world):
        for name in ("a", "b"):
            await add_node(world, name)
        await world.create("pods", pod_on("a", seconds=10))
        await world.sleep(600)
        return await world.get("nodes", "a", ""), await world.get("pods", "p")

    node, pod = tell(story, ONLY)
    assert ("unreachable", "NoExecute") not in taints(node)
    assert pod["metadata"].get("deletionTimestamp") is None


def test_conditions_and_cordons_are_taints(tell):
    async def story(world):
        await add_node(world, "a")
        await post_status(world, "a", MemoryPressure="True")
        await world.patch("nodes", "a", {"spec": {"unschedulable": True}}, "")
        await world.sleep(2)
        pressed = await world.get("nodes", "a", "")
        await post_status(world, "a")
        await world.patch("nodes", "a", {"spec": {"unschedulable": None}}, "")
        await world.sleep(2)
        return taints(pressed), taints(await world.get("nodes", "a", ""))

    assert tell(story, ONLY) == ([("memory-pressure", "NoSchedule"), ("unschedulable", "NoSchedule")], [])


def test_a_no_execute_taint_by_hand_evicts_what_does_not_tolerate_it(tell):
    async def story(world):
        await add_node(world, "a")
        await world.create("pods", pod_on("a", "plain"))
        tolerant = pod_on("a", "tolerant")
        tolerant["spec"]["tolerations"] = [{"key": "k", "operator": "Exists"}]
        await world.create("pods", tolerant)
        await world.patch("nodes", "a", {"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}}, "")
        await world.sleep(5)
        return [pod["metadata"]["name"] for pod in await world.list("pods")]

    assert tell(story, ONLY) == ["tolerant"]


def test_nodes_get_ranges_of_their_own_and_give_them_back(tell):
    async def story(world):
        for number in range(4):
            await add_node(world, f"n{number}")
        await world.sleep(1)
        first = {node["metadata"]["name"]: node["spec"].get("podCIDR") for node in await world.list("nodes", "")}
        await world.delete("nodes", "n0", "")
        await world.sleep(1)
        await add_node(world, "n4")
        await world.sleep(1)
        return first, (await world.get("nodes", "n4", ""))["spec"].get("podCIDR")

    settings = Settings(allocate_node_cidrs=True, cluster_cidr="10.244.0.0/22")
    first, later = tell(story, ONLY, settings=settings)
    assert sorted(first.values()) == [f"10.244.{number}.0/24" for number in range(4)]
    assert later == first["n0"]


def test_pods_of_a_node_that_is_gone_are_removed(tell):
    async def story(world):
        await add_node(world, "a")
        await world.create("pods", pod_on("a"))
        await world.delete("nodes", "a", "")
        await world.sleep(30)
        before = await world.find("pods", "p")
        await world.sleep(40)
        return before, await world.find("pods", "p")

    before, after = tell(story, ONLY, nodes=False)
    assert before
    assert after is None


def test_finished_pods_beyond_the_threshold_are_removed_oldest_first(tell):
    async def story(world):
        for number in range(5):
            await world.create("pods", {"metadata": {"name": f"p{number}"}, "spec": pod_on("")["spec"]})
            await world.patch("pods", f"p{number}", {"status": {"phase": "Succeeded"}}, subresource="status")
            await world.sleep(2)
        await world.sleep(30)
        return [pod["metadata"]["name"] for pod in await world.list("pods")]

    settings = Settings(terminated_pod_gc_threshold=2)
    assert tell(story, ONLY, settings=settings, nodes=False) == ["p3", "p4"]


@pytest.mark.parametrize(
    ("ready", "not_ready", "state", "rate"),
    [
        (10, 1, Disruption.NONE, 0.1),
        (10, 2, Disruption.NONE, 0.1),
        (2, 3, Disruption.PARTIAL, 0.0),
        (20, 60, Disruption.PARTIAL, 0.01),
        (0, 1, Disruption.FULL, 0.1),
    ],
)
def test_the_rate_of_evictions_follows_the_zones_health(ready, not_ready, state, rate):
    zone = Zone(ready, not_ready)
    assert zone.disruption(0.55) is state
    assert zone.rate(Settings()) == rate


def test_taints_that_are_not_ours_stay():
    foreign = Taint(key="dedicated", effect="NoSchedule")
    old = Taint(key=NOT_READY, effect="NoExecute")
    status = NodeStatus(conditions=[Condition(type="Ready", status="Unknown")])
    node = Node(metadata=ObjectMeta(name="a"), spec=NodeSpec(taints=[foreign, old]), status=status)
    planned = plan_taints(node, UNREACHABLE, START)
    assert [(taint.key, taint.effect) for taint in planned] == [
        ("dedicated", "NoSchedule"), (UNREACHABLE, "NoExecute"), (UNREACHABLE, "NoSchedule"),
    ]  # fmt: skip
    node.spec.taints = planned
    assert plan_taints(node, UNREACHABLE, START) is None


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0),
        ([Toleration(operator="Exists")], FOR_EVER),
        ([Toleration(key="k", operator="Equal", value="v", toleration_seconds=60)], 60),
        ([Toleration(key="k", operator="Equal", value="other")], 0),
        ([Toleration(key="k", operator="Exists", effect="NoSchedule")], 0),
        ([Toleration(key="k", operator="Exists"), Toleration(operator="Exists", toleration_seconds=5)], 5),
        ([Toleration(key="k", operator="Exists", toleration_seconds=-5)], 0),
    ],
)
def test_how_long_a_pod_may_stay(tolerations, seconds):
    assert seconds_tolerated(tolerations, [Taint(key="k", value="v", effect="NoExecute")]) == seconds
