"""Which pod is ended when the node runs short."""

import pytest

from kobune.node.kubelet.config import Amounts, KubeletConfig
from kobune.node.kubelet.eviction import Pressure, Usage, choose_victim, find_hogs, find_pressures
from kobune.node.kubelet.pod import pod_from_json
from kobune.node.runtime.simulated import Behaviour

CONFIG = KubeletConfig("node-1", addresses=[], root_dir=None, capacity=Amounts(memory_bytes=1 << 30))
ROOMY = {"capacityBytes": 100, "availableBytes": 50, "inodes": 100, "inodesFree": 50}
MEMORY = Pressure("MemoryPressure", "memory", 50 << 20, 100 << 20)


def pod_of(uid, request="0", priority=0, **spec):
    container = {"name": "main", "resources": {"requests": {"memory": request}}, **spec.pop("main", {})}
    return pod_from_json(
        {"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [container], "priority": priority, **spec}}
    )


def using(memory=0, disk=0, **volumes):
    return Usage({"main": memory}, {"main": disk}, volumes)


@pytest.mark.parametrize(
    "used, disk, expected",
    [
        pytest.param(0, ROOMY, [], id="room-everywhere"),
        pytest.param((1 << 30) - (50 << 20), ROOMY, ["memory"], id="memory"),
        pytest.param(0, {**ROOMY, "availableBytes": 9}, ["ephemeral-storage"], id="disk"),
        pytest.param(0, {**ROOMY, "inodesFree": 4}, ["inodes"], id="inodes"),
    ],
)
def test_thresholds(used, disk, expected):
    assert [each.resource for each in find_pressures(CONFIG, used, disk, 1.0)] == expected


def test_who_uses_more_than_asked_for_goes_first_then_the_least_important():
    within, above, important = pod_of("within", "1Gi"), pod_of("above"), pod_of("important", priority=5)
    usage = {"within": using(500 << 20), "above": using(10 << 20), "important": using(400 << 20)}
    eviction = choose_victim(MEMORY, [within, important, above], usage)
    assert eviction.pod is above
    assert eviction.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container main was using 10Mi, request is 0, has larger consumption of memory. "
    )


def test_critical_pods_are_left_alone():
    assert choose_victim(MEMORY, [pod_of("a", priority=2_000_000_000)], {"a": using(1 << 30)}) is None


def test_pods_that_take_more_disk_than_they_may_are_found():
    volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]
    pods = [
        pod_of("volume", volumes=volumes),
        pod_of("layer", main={"resources": {"limits": {"ephemeral-storage": "1Mi"}}}),
        pod_of("fine", volumes=volumes),
    ]
    usage = {"volume": using(scratch=2 << 20), "layer": using(disk=2 << 20), "fine": using(scratch=1 << 20)}
    found = {each.pod.uid: each.message for each in find_hogs(pods, usage)}
    assert found == {
        "volume": 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". ',
        "layer": 'Container main exceeded its local ephemeral storage limit "1Mi". ',
    }


def test_a_node_short_of_memory_says_so_and_ends_a_pod(tell):
    async def story(world):
        await world.create("hog")
        pod = await world.until_pod("hog", lambda pod: pod["status"].get("phase") == "Failed", 120)
        assert pod["status"]["reason"] == "Evicted"
        assert any(it["type"] == "DisruptionTarget" for it in pod["status"]["conditions"])

        async def pressure():
            node = await world.call("GET", "/api/v1/nodes/node-1")
            conditions = {it["type"]: it["status"] for it in node["status"]["conditions"]}
            return conditions["MemoryPressure"]

        assert await world.until(pressure, 60) == "True"
        await world.clock.sleep(400)
        assert await pressure() == "False"

    capacity = Amounts(cpu_millicores=2000, memory_bytes=1 << 30, ephemeral_bytes=1 << 30)
    tell(story, {"main": Behaviour(memory_bytes=1000 << 20)}, capacity=capacity)
