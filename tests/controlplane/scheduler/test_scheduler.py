"""The running scheduler against a real API server over the memory store."""

import asyncio

import orjson
import pytest

from kobune.api.errors import NotFound
from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler.observe import explain_pod
from kobune.controlplane.scheduler.why import Outcome


@pytest.fixture
async def cluster(api_cluster):
    async with api_cluster() as cluster:
        yield cluster


async def test_a_pod_is_bound_and_an_event_says_so(cluster):
    await cluster.node("a")
    await cluster.pod("web")
    assert await cluster.node_of("web") == "a"
    event = await cluster.event("web", "Scheduled")
    assert event["message"] == "Successfully assigned default/web to a"
    count = 'duration_seconds_count{plugin="DefaultBinder",extension_point="Bind",status="Success"} 1'
    assert f"scheduler_plugin_execution_{count}" in cluster.scheduler.render_metrics()
    # An event of events.k8s.io/v1, seen as core/v1.
    assert (event["type"], event["action"], event["reportingComponent"]) == ("Normal", "Binding", "default-scheduler")
    assert (event["source"], event["firstTimestamp"], "count" in event) == ({}, None, False)
    assert event["eventTime"]


async def test_a_burst_of_bindings_is_told_of_whole(cluster):
    pods = 1200  # More than upstream's recorders hold at once.
    for number in range(11):
        await cluster.node(f"node-{number}")
    async with asyncio.TaskGroup() as tasks:
        for number in range(pods):
            tasks.create_task(cluster.pod(f"web-{number}", cpu="1m"))

    async def told():
        query = {"fieldSelector": "reason=Scheduled"}
        listing = orjson.loads(await cluster.client.call("GET", "/api/v1/namespaces/default/events", query=query))
        return len({one["involvedObject"]["name"] for one in listing["items"]}) == pods

    await cluster.until(told)


async def test_a_pod_that_fits_nowhere_says_why_and_goes_when_room_appears(cluster):
    await cluster.node("small", cpu="1")
    await cluster.pod("web", cpu="2")
    condition = await cluster.condition("web")
    message = (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Unschedulable", message)
    assert (await cluster.event("web", "FailedScheduling"))["message"] == message
    await cluster.node("large")
    assert await cluster.node_of("web") == "large"


async def test_a_deleted_pod_leaves_room_for_one_that_waits(cluster):
    await cluster.node("a", cpu="1")
    await cluster.pod("first")
    await cluster.node_of("first")
    await cluster.pod("second")
    await cluster.condition("second")
    await cluster.client.call("DELETE", "/api/v1/namespaces/default/pods/first", body=b'{"gracePeriodSeconds": 0}')
    assert await cluster.node_of("second") == "a"


async def test_a_pod_for_another_scheduler_is_left_alone(cluster):
    await cluster.node("a")
    await cluster.pod("theirs", schedulerName="other")
    await cluster.pod("ours")
    await cluster.node_of("ours")
    assert "nodeName" not in (await cluster.get("theirs"))["spec"]


async def test_a_gated_pod_waits_for_its_gates(cluster):
    await cluster.node("a")
    await cluster.pod("gated", schedulingGates=[{"name": "example.com/wait"}])
    await cluster.pod("free")
    await cluster.node_of("free")
    assert "nodeName" not in (await cluster.get("gated"))["spec"]
    assert cluster.scheduler.queue.counts["gated"] == 1
    path = "/api/v1/namespaces/default/pods/gated"
    patch = b'{"spec": {"schedulingGates": null}}'
    await cluster.client.call("PATCH", path, body=patch, content_type="application/merge-patch+json")
    assert await cluster.node_of("gated") == "a"


async def test_a_pod_of_higher_priority_takes_the_place_of_a_lower_one(cluster):
    await cluster.node("a", cpu="1")
    await cluster.pod("low")
    await cluster.node_of("low")
    await cluster.post(
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000},
    )
    await cluster.pod("high", priorityClassName="high", priority=1000)
    preempted = await cluster.event("low", "Preempted")
    assert preempted["message"].endswith("on node a")
    assert (preempted["action"], preempted["related"]["name"]) == ("Preempting", "high")

    async def marked():
        return (await cluster.get("high"))["status"].get("nominatedNodeName")

    assert await cluster.until(marked) == "a"
    await cluster.client.call("DELETE", "/api/v1/namespaces/default/pods/low", body=b'{"gracePeriodSeconds": 0}')
    assert await cluster.node_of("high") == "a"


async def test_pods_bound_by_others_count(cluster):
    await cluster.node("a", cpu="1")
    await cluster.node("b", cpu="1")
    await cluster.pod("placed", nodeName="a")
    await cluster.pod("web")
    assert await cluster.node_of("web") == "b"


async def test_a_pending_pod_is_explained_from_what_the_api_shows(cluster):
    await cluster.node("small", cpu="1", labels={"agentpool": "user"})
    await cluster.pod("placed")
    await cluster.node_of("placed")
    await cluster.pod("waiting")
    await cluster.condition("waiting")
    explanation = await explain_pod(cluster.client, Key("default", "waiting"))
    assert explanation.outcome == Outcome.SCALE_UP
    assert [change.text for change in explanation.changes] == ["one more node in pool user"]
    with pytest.raises(NotFound, match="is not pending: it is on node small"):
        await explain_pod(cluster.client, Key("default", "placed"))
    with pytest.raises(NotFound, match='pods "nobody" not found'):
        await explain_pod(cluster.client, Key("default", "nobody"))


async def test_a_claim_that_waits_for_its_pod_is_given_the_pods_node(cluster):
    """The scheduler selects the node; the provisioner, here the test, makes the volume and binds the claim."""
    await cluster.node("a")
    storage_class = {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"},
        "provisioner": "example.com/disk", "volumeBindingMode": "WaitForFirstConsumer",
    }  # fmt: skip
    await cluster.post("/apis/storage.k8s.io/v1/storageclasses", storage_class)
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {
            "storageClassName": "late", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        },
    }  # fmt: skip
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    await cluster.post(claims, claim)
    await cluster.pod("db", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])

    async def selected():
        found = orjson.loads(await cluster.client.call("GET", f"{claims}/data"))
        return (found["metadata"].get("annotations") or {}).get("volume.kubernetes.io/selected-node")

    assert await cluster.until(selected) == "a"
    assert "nodeName" not in (await cluster.get("db"))["spec"]
    patch = {
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "pv-1"},
    }  # fmt: skip
    body = orjson.dumps(patch)
    await cluster.client.call("PATCH", f"{claims}/data", body=body, content_type="application/merge-patch+json")
    assert await cluster.node_of("db") == "a"


async def test_an_older_cluster_without_some_kinds_is_served_too(api_cluster):
    """resource.k8s.io/v1 came with 1.34."""
    async with api_cluster(version="1.30") as cluster:
        await cluster.node("a")
        await cluster.pod("web")
        assert await cluster.node_of("web") == "a"


async def test_a_pod_that_quota_kept_out_is_explained_by_its_controllers_event(cluster):
    message = 'Error creating: pods "web-7d-x" is forbidden: exceeded quota: team, requested: cpu=2, used: cpu=9, limited: cpu=10'
    await cluster.post(
        "/api/v1/namespaces/default/events",
        {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "web-7d.1"}, "type": "Warning",
            "reason": "FailedCreate", "message": message, "lastTimestamp": "2026-01-01T00:00:00Z",
            "involvedObject": {"kind": "ReplicaSet", "namespace": "default", "name": "web-7d"},
        },
    )  # fmt: skip
    for name in ("web", "web-7d", "web-7d-x"):  # The Deployment, the ReplicaSet, or a pod.
        explanation = await explain_pod(cluster.client, Key("default", name))
        assert (explanation.outcome, explanation.message) == (Outcome.REFUSED, message.removeprefix("Error creating: "))
    with pytest.raises(NotFound):
        await explain_pod(cluster.client, Key("default", "we"))
