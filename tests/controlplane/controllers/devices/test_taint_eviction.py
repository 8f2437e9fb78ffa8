"""Pods leave devices that are tainted, at once or when their claims' patience is over."""

from datetime import UTC, datetime, timedelta

import pytest

from kobune.controlplane.controllers.devices.taints import (
    AllocatedDevice,
    DeviceSelector,
    DeviceTaint,
    DeviceTaintRule,
    DeviceToleration,
    Pool,
    PoolName,
    ResourceSlice,
    RuleSpec,
    SliceSpec,
    TaintedDevice,
    claim_eviction,
    tolerated_until,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAINT = DeviceTaint(key="broken", value="yes", effect="NoExecute", time_added=NOW)
CONTROLLER = "device-taint-eviction-controller"


def toleration(seconds=None, **rest):
    return DeviceToleration(
        **{"key": "broken", "operator": "Exists", "effect": "NoExecute", **rest}, toleration_seconds=seconds
    )


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        pytest.param([], 0, id="nothing-is-tolerated-unasked"),
        pytest.param([toleration()], None, id="for-ever"),
        pytest.param([toleration(30), toleration(60)], 30, id="the-shortest-patience-counts"),
        pytest.param([toleration(-5)], 0, id="negative-is-none"),
        pytest.param([toleration(30), toleration()], None, id="one-for-ever-is-enough"),
        pytest.param([toleration(key="other")], 0, id="another-key"),
        pytest.param([toleration(effect="NoSchedule")], 0, id="another-effect"),
        pytest.param([toleration(effect="")], 0, id="no-effect-named"),
        pytest.param([toleration(operator="Equal", value="yes")], None, id="equal"),
        pytest.param([toleration(operator="Equal", value="no")], 0, id="another-value"),
    ],
)
def test_patience_with_a_taint(tolerations, seconds):
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert tolerated_until(TAINT, tolerations) == expected


def test_the_newest_generation_of_a_pool_and_the_rules_that_select_a_device_count():
    def resource_slice(generation, *taints):
        device = TaintedDevice(name="gpu-0", taints=list(taints))
        pool = Pool(name="node", generation=generation)
        return ResourceSlice(spec=SliceSpec(driver="d", pool=pool, devices=[device]))

    def rule(**selector):
        taint = DeviceTaint(key="r", effect="NoExecute", time_added=NOW - timedelta(seconds=9))
        return DeviceTaintRule(spec=RuleSpec(device_selector=DeviceSelector(**selector), taint=taint))

    old, new = resource_slice(1, TAINT), resource_slice(2)
    device = AllocatedDevice(driver="d", pool="node", device="gpu-0")

    def when(slices, *rules):
        found = claim_eviction([device], {PoolName("d", "node"): slices}.get, rules)
        return found.when if found is not None else None

    assert when([old]) == NOW
    assert when([old, new]) is None
    assert when([old], rule(pool="node")) == NOW - timedelta(seconds=9)
    assert when([new], rule(device="gpu-1")) is None
    assert when([new], rule()) == NOW - timedelta(seconds=9)
    assert when([new], DeviceTaintRule(spec=RuleSpec(taint=TAINT))) is None


async def user(world, name, *tolerations):
    """A pod on a node that has a device."""
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
    await world.create("resourceclaims", {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}})
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    claims = {"resourceClaims": [{"name": "device", "resourceClaimName": name}]}
    pod = await world.create("pods", {"metadata": {"name": name}, "spec": {**spec, **claims}})
    result = {
        "request": "gpu",
        "driver": "gpu.example.com",
        "pool": "n",
        "device": name,
        "tolerations": list(tolerations),
    }
    status = {
        "allocation": {"devices": {"results": [result]}},
        "reservedFor": [{"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}],
    }
    await world.patch("resourceclaims", name, {"status": status}, subresource="status")


def slice_of(*devices, taints):
    pool = {"name": "n", "generation": 1, "resourceSliceCount": 1}
    offered = [{"name": name, **({"taints": taints} if taints else {})} for name in devices]
    return {
        "metadata": {"name": "s"},
        "spec": {"driver": "gpu.example.com", "nodeName": "n", "pool": pool, "devices": offered},
    }


def test_a_taint_in_a_slice_evicts_users_in_their_time_and_its_removal_calls_it_off(tell):
    async def story(world):
        patient = {"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
        await world.create("resourceslices", slice_of("a", "b", taints=[]), "")
        await user(world, "a")
        await user(world, "b", patient)
        taints = [{"key": "broken", "effect": "NoExecute"}]
        made = await world.patch("resourceslices", "s", slice_of("a", "b", taints=taints), "")
        await world.sleep(5)
        early = [pod["metadata"]["name"] for pod in await world.list("pods")]
        await world.patch("resourceslices", "s", slice_of("a", "b", taints=[]), "")
        await world.sleep(120)
        late = [pod["metadata"]["name"] for pod in await world.list("pods")]
        return made, early, late, await world.list("events")

    made, early, late, events = tell(story, CONTROLLER)
    assert [device["taints"][0]["timeAdded"] for device in made["spec"]["devices"]] == ["2026-01-05T08:00:00Z"] * 2
    assert (early, late) == (["b"], ["b"])
    told = {(each["involvedObject"]["name"], each["reason"], each["message"]) for each in events}
    assert told == {
        ("a", "DeviceTaintManagerEviction", "Marking for deletion"),
        ("b", "DeviceTaintManagerEviction", "Cancelling deletion"),
    }


def test_a_rule_tells_whom_it_would_evict_and_then_how_far_it_is(tell):
    async def story(world):
        await world.create("resourceslices", slice_of("a", "b", taints=[]), "")
        await user(world, "a")
        await user(world, "b")
        spec = {"deviceSelector": {"device": "a"}, "taint": {"key": "broken", "effect": "None"}}
        await world.create("devicetaintrules", {"metadata": {"name": "r"}, "spec": spec}, "")
        await world.sleep(2)
        imagined = await world.get("devicetaintrules", "r", "")
        await world.patch("devicetaintrules", "r", {"spec": {"taint": {"effect": "NoExecute"}}}, "")
        await world.sleep(40)
        done = await world.get("devicetaintrules", "r", "")
        return imagined, done, [pod["metadata"]["name"] for pod in await world.list("pods")]

    imagined, done, left = tell(story, CONTROLLER, version="1.37")
    (condition,) = imagined["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("EvictionInProgress", "False", "NoEffect")
    assert condition["message"].startswith(
        "1 published device selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace if"
    )
    assert left == ["b"]
    assert done["spec"]["taint"]["timeAdded"] == "2026-01-05T08:00:02Z"
    (condition,) = done["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Completed")
    assert condition["message"] == "1 pod evicted since starting the controller."
