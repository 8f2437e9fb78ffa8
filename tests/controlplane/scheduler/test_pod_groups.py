"""Pods of a PodGroup. Source: Kubernetes documentation, Gang Scheduling; upstream schedule_one_podgroup, gangscheduling."""

import orjson
import pytest

from kobune.api.errors import NotFound
from kobune.api.features import GANG_SCHEDULING, GENERIC_WORKLOAD
from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler.observe import explain_pod
from kobune.controlplane.scheduler.why import Outcome

GROUPS = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups"
ON = {"scheduling.k8s.io/v1alpha2": True}
UNSCHEDULABLE = (
    "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled, "
    "one or more plugins asked to wait and no plugin rejected pod"
)


@pytest.fixture
async def cluster(api_cluster):
    async with api_cluster(frozenset({GENERIC_WORKLOAD, GANG_SCHEDULING}), ON) as cluster:
        yield cluster


async def make_group(cluster, name="train", **policy):
    spec = {"schedulingPolicy": policy}
    manifest = {
        "apiVersion": "scheduling.k8s.io/v1alpha2",
        "kind": "PodGroup",
        "metadata": {"name": name},
        "spec": spec,
    }
    return await cluster.post(GROUPS, manifest)


def of(group="train"):
    return {"schedulingGroup": {"podGroupName": group}}


async def group_condition(cluster, status, name="train"):
    async def said():
        group = orjson.loads(await cluster.client.call("GET", f"{GROUPS}/{name}"))
        conditions = (group.get("status") or {}).get("conditions") or ()
        return next((one for one in conditions if one["status"] == status), None)

    return await cluster.until(said)


async def test_a_gang_waits_until_enough_of_its_pods_exist_and_is_bound_together(cluster):
    await cluster.node("a", cpu="8")
    await cluster.pod("one", **of())
    await make_group(cluster, gang={"minCount": 3})
    await cluster.pod("two", **of())
    await cluster.pod("alone")
    await cluster.node_of("alone")
    scheduler = cluster.scheduler
    await cluster.until(lambda: _now(scheduler.queue.counts["gated"] == 2))
    assert "nodeName" not in (await cluster.get("one"))["spec"]
    await cluster.pod("three", **of())
    assert [await cluster.node_of(name) for name in ("one", "two", "three")] == ["a"] * 3
    condition = await group_condition(cluster, "True")
    assert (condition["reason"], condition["message"]) == ("Scheduled", "")
    metrics = scheduler.render_metrics()
    line = 'scheduler_podgroup_schedule_attempts_total{result="scheduled",profile="default-scheduler"} 1'
    assert line in metrics


async def _now(answer):
    return answer


async def test_no_pod_of_a_gang_is_bound_while_there_is_room_for_too_few(cluster):
    await cluster.node("a", cpu="2")
    await make_group(cluster, gang={"minCount": 3})
    for name in ("one", "two", "three"):
        await cluster.pod(name, **of())
    condition = await group_condition(cluster, "False")
    assert (condition["reason"], condition["message"]) == ("Unschedulable", "pod group is unschedulable")
    told = {name: (await cluster.condition(name))["message"] for name in ("one", "two", "three")}
    full = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
    full += "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    assert sorted(told.values()) == sorted([full, UNSCHEDULABLE, UNSCHEDULABLE])
    assert cluster.scheduler.table.pod_count.sum() == 0  # What was tried was taken back.
    why = await explain_pod(cluster.client, Key("default", "one"))
    assert why.outcome is Outcome.WAITING
    assert why.waits_for == ("its gang: there is room for 2 of the pods of PodGroup train, which needs 3 at once",)
    await cluster.node("b", cpu="2")
    assert {await cluster.node_of(name) for name in told} == {"a", "b"}
    await group_condition(cluster, "True")


async def test_pods_of_a_group_without_a_gang_are_bound_as_they_fit(cluster):
    await cluster.node("a", cpu="1")
    await make_group(cluster, basic={})
    await cluster.pod("one", **of())
    assert await cluster.node_of("one") == "a"
    await cluster.pod("two", **of())
    assert "Insufficient cpu" in (await cluster.condition("two"))["message"]
    await group_condition(cluster, "True")


async def test_a_gang_makes_room_for_itself_by_evictions(cluster):
    await cluster.post(
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000},
    )
    await cluster.node("a", cpu="2")
    await cluster.pod("victim", terminationGracePeriodSeconds=0)
    await cluster.node_of("victim")
    await make_group(cluster, gang={"minCount": 2})
    for name in ("one", "two"):
        await cluster.pod(name, priorityClassName="high", **of())
    event = await cluster.event("victim", "Preempted")
    uids = {(await cluster.get(name))["metadata"]["uid"] for name in ("one", "two")}
    assert event["message"] in {f"Preempted by pod {uid} on node a" for uid in uids}
    assert {await cluster.node_of(name) for name in ("one", "two")} == {"a"}


async def test_pods_of_one_group_must_name_one_scheduler(cluster, build):
    scheduler = cluster.scheduler
    await cluster.node("a")
    other = scheduler.profiles["other"] = scheduler.profiles["default-scheduler"]
    assert other
    scheduler._ingest._names = frozenset(scheduler.profiles)
    await cluster.pod("one", schedulerName="other", **of())
    await cluster.pod("two", **of())
    await make_group(cluster, gang={"minCount": 2})
    condition = await cluster.condition("one")
    assert condition["reason"] == "SchedulerError"
    assert condition["message"].startswith(
        "all pods in a single pod group should have the same .spec.schedulerName set, got: "
    )


async def test_why_tells_of_a_gang_that_is_not_complete(cluster):
    await cluster.pod("one", **of("later"))
    why = await explain_pod(cluster.client, Key("default", "one"))
    assert (why.outcome, why.waits_for) == (Outcome.WAITING, ("PodGroup later, which does not exist",))
    await make_group(cluster, "later", gang={"minCount": 4})
    why = await explain_pod(cluster.client, Key("default", "one"))
    assert why.message == "waiting for minCount pods from a gang to appear in scheduling queue"
    assert why.waits_for == ("its gang: PodGroup later has 1 of the 4 pods that it needs",)


async def test_a_scheduler_without_the_gate_places_such_pods_one_by_one(api_cluster):
    async with api_cluster(frozenset({GENERIC_WORKLOAD}), ON) as cluster:
        await cluster.node("a")
        await make_group(cluster, gang={"minCount": 5})
        await cluster.pod("one", **of())
        assert await cluster.node_of("one") == "a"


async def test_without_the_gate_there_are_no_groups(api_cluster):
    async with api_cluster() as cluster:
        pod = await cluster.pod("one", **of())
        assert "schedulingGroup" not in pod["spec"]
        with pytest.raises(NotFound):
            await make_group(cluster, gang={"minCount": 1})
