"""Extended resources that classes of devices stand for. Source: Kubernetes documentation, Extended resource allocation by
DRA; upstream extendeddynamicresources."""

import msgspec
import orjson
import pytest

from kobune.controlplane.scheduler import views
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.extended_devices import ExtendedResources
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.profiles import build_profile

GPU = "example.com/gpu"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"


def device_class(name="gpu", resource=GPU, created="2026-01-01T00:00:00Z"):
    selector = {"cel": {"expression": 'device.driver == "gpu.example.com"'}}
    spec = {"selectors": [selector], "extendedResourceName": resource}
    return {"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}


def published(*names, node="a", **more):
    devices = [{"name": name, **more} for name in names]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.example.com", "nodeName": node, "pool": pool, "devices": devices}
    return {"metadata": {"name": node}, "spec": spec}


def keyed(view, *manifests):
    return {(one := msgspec.convert(manifest, view)).key: one for manifest in manifests}


def world(*slices, classes=None):
    classes = [device_class()] if classes is None else classes
    return Listers(
        resource_slices=keyed(views.ResourceSlice, *slices), device_classes=keyed(views.DeviceClass, *classes)
    )


def container(name, count=0, **more):
    return {
        "name": name,
        "image": "app",
        "resources": {"requests": {"cpu": "1", GPU: str(count)} if count else {}},
        **more,
    }


def feasible(listers, pod, table):
    mask = build_profile(ProfileConfiguration(), listers).profile.feasible(pod, table, Nominations())
    return {name for name, row in table.row_of.items() if mask[row]}


@pytest.fixture
def table(build):
    return build.table(build.node("a"), build.node("b", more={GPU: "2"}), build.node("c"))


@pytest.mark.parametrize(("count", "where"), [(1, {"a", "b"}), (2, {"b"}), (3, set())])
def test_a_node_has_the_resource_by_its_plugin_or_by_devices(build, table, count, where):
    pod = build.info(requests={GPU: str(count)})
    assert feasible(world(published("x")), pod, table) == where


def test_without_a_class_only_the_plugin_counts(build, table):
    assert feasible(world(published("x"), classes=()), build.info(requests={GPU: "1"}), table) == {"b"}


def test_every_class_stands_for_a_resource_named_after_it(build, table):
    pod = build.info(requests={"deviceclass.resource.kubernetes.io/gpu": "1"})
    assert feasible(world(published("x")), pod, table) == {"a"}


def test_of_two_classes_for_a_resource_the_newer_one_counts():
    older, newer = device_class("older"), device_class("newer", created="2026-02-01T00:00:00Z")
    assert ExtendedResources(world(classes=(older, newer))).class_for(GPU) == "newer"
    twin = device_class("a-twin", created="2026-02-01T00:00:00Z")
    assert ExtendedResources(world(classes=(newer, twin))).class_for(GPU) == "a-twin"


def test_init_containers_use_what_later_containers_ask_for(build):
    pod = build.info(
        containers=[container("main", 2), container("other", 1)],
        initContainers=[container("small", 1), container("large", 5), container("sidecar", 1, restartPolicy="Always")],
    )
    wanted = ExtendedResources(world()).wanted(pod, [GPU])
    assert {one["name"]: one["exactly"]["count"] for one in wanted.requests} == {
        "container-1-request-1": 1,  # What the large one needs beyond the four of those after it.
        "container-2-request-1": 1,
        "container-3-request-1": 2,
        "container-4-request-1": 1,
    }
    used = {}
    for one in wanted.mappings:
        used.setdefault(one["containerName"], []).append(one["requestName"])
    assert used["small"] == ["container-2-request-1"]
    assert used["large"] == [f"container-{number}-request-1" for number in (2, 3, 4, 1)]
    assert used["main"] == ["container-3-request-1"]


@pytest.fixture
async def cluster(api_cluster):
    async with api_cluster() as cluster:
        await cluster.node("a")
        root = "/apis/resource.k8s.io/v1"
        for kind, plural, manifest in (
            ("DeviceClass", "deviceclasses", device_class()),
            ("ResourceSlice", "resourceslices", published("x", "y")),
        ):
            manifest["metadata"].pop("creationTimestamp", None)
            await cluster.post(f"{root}/{plural}", {"apiVersion": "resource.k8s.io/v1", "kind": kind, **manifest})
        yield cluster


async def pod(cluster, name, count):
    limits = {"cpu": "1", GPU: str(count)}
    spec = {"containers": [{"name": "c", "image": "app", "resources": {"requests": limits, "limits": limits}}]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    return await cluster.post("/api/v1/namespaces/default/pods", manifest)


async def claims(cluster):
    return orjson.loads(await cluster.client.call("GET", CLAIMS))["items"]


async def test_the_pod_gets_a_claim_of_its_own(cluster):
    made = await pod(cluster, "train", 2)
    assert await cluster.node_of("train") == "a"
    (claim,) = await claims(cluster)
    assert claim["metadata"]["name"].startswith("train-extended-resources-")
    assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert claim["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    results = claim["status"]["allocation"]["devices"]["results"]
    assert [one["device"] for one in results] == ["x", "y"]
    assert claim["status"]["reservedFor"] == [{"resource": "pods", "name": "train", "uid": made["metadata"]["uid"]}]
    told = (await cluster.get("train"))["status"]["extendedResourceClaimStatus"]
    assert told["resourceClaimName"] == claim["metadata"]["name"]
    assert told["requestMappings"] == [
        {"containerName": "c", "resourceName": GPU, "requestName": "container-0-request-1"}
    ]
    await pod(cluster, "late", 1)
    assert (await cluster.condition("late"))["message"] == (
        "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: "
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


async def test_a_claim_that_an_earlier_attempt_left_behind_is_deleted_first(cluster):
    await pod(cluster, "big", 3)
    await cluster.condition("big")
    uid = (await cluster.get("big"))["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "big", "uid": uid, "controller": True}
    exactly = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
    left = {
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {
            "name": "left", "ownerReferences": [owner],
            "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
        },
        "spec": {"devices": {"requests": [{"name": "container-0-request-1", "exactly": exactly}]}},
    }  # fmt: skip
    await cluster.post(CLAIMS, left)

    async def gone():
        return not await claims(cluster)

    await cluster.until(gone)


async def test_a_class_that_comes_later_helps_the_pod(api_cluster):
    async with api_cluster() as cluster:
        await cluster.node("a")
        await pod(cluster, "train", 1)
        assert "Insufficient example.com/gpu" in (await cluster.condition("train"))["message"]
        root, version = "/apis/resource.k8s.io/v1", {"apiVersion": "resource.k8s.io/v1"}
        await cluster.post(f"{root}/resourceslices", {**version, "kind": "ResourceSlice", **published("x")})
        made = device_class()
        made["metadata"].pop("creationTimestamp")
        await cluster.post(f"{root}/deviceclasses", {**version, "kind": "DeviceClass", **made})
        assert await cluster.node_of("train") == "a"


async def test_a_pod_is_bound_once_its_devices_are_ready(cluster):
    slow = published(
        "slow", node="a", bindsToNode=True, bindingConditions=["Attached"], bindingFailureConditions=["Broken"]
    )
    slow["metadata"]["name"], slow["spec"]["pool"]["name"] = "slow", "fabric"
    root = "/apis/resource.k8s.io/v1"
    await cluster.post(f"{root}/resourceslices", {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", **slow})
    await cluster.until(lambda: _true(len(cluster.scheduler.listers.resource_slices) == 2))
    exactly = {"deviceClassName": "gpu", "selectors": [{"cel": {"expression": "true"}}], "count": 3}
    spec = {"devices": {"requests": [{"name": "r", "exactly": {**exactly, "allocationMode": "ExactCount"}}]}}
    await cluster.post(
        CLAIMS, {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "all"}, "spec": spec}
    )
    await cluster.pod("train", resourceClaims=[{"name": "all", "resourceClaimName": "all"}])
    event = await cluster.event("train", "BindingConditionsPending")
    assert event["message"] == "waiting for binding conditions for device on node a"
    (claim,) = await claims(cluster)
    results = claim["status"]["allocation"]["devices"]["results"]
    assert [one["device"] for one in results] == ["x", "y", "slow"]  # What is to be waited for comes last.
    assert results[2]["bindingConditions"] == ["Attached"]
    assert "allocationTimestamp" in claim["status"]["allocation"]
    assert "nodeName" not in (await cluster.get("train"))["spec"]

    async def say(condition, status="True"):
        one = {
            "type": condition, "status": status, "reason": "Said", "message": "by the driver",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        device = {"driver": "gpu.example.com", "pool": "fabric", "device": "slow", "conditions": [one]}
        body = orjson.dumps({"status": {"devices": [device]}})
        path = f"{CLAIMS}/all/status"
        await cluster.client.call("PATCH", path, body=body, content_type="application/merge-patch+json")

    await say("Broken")
    condition = await cluster.condition("train")
    assert condition["message"] == (
        'running PreBind plugin "DynamicResources": device binding failed: claim=all, reason=Said, message="by the driver"'
    )

    async def again():
        """Given back, and allocated anew: what the driver had said is gone."""
        status = (await claims(cluster))[0].get("status") or {}
        return status.get("allocation") and not status.get("devices")

    await cluster.until(again)
    await say("Attached")
    assert await cluster.node_of("train") == "a"


async def _true(answer):
    return answer
