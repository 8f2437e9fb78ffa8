"""What keeps a node tidy: logs, images, static pods, shutdown, the Node object."""

import gzip

import pytest

from kobune.node.kubelet.log_rotation import make_room
from kobune.node.kubelet.pod import pod_from_json
from kobune.node.kubelet.static_pods import read_manifests
from kobune.node.kubelet.volumes.ownership import give_to_group
from kobune.node.runtime.runtime import Image
from kobune.node.runtime.simulated import Behaviour


def running(pod):
    return pod["status"].get("phase") == "Running"


def test_rotated_logs_are_few_and_compressed(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("now")
    for number in range(6):
        (tmp_path / f"0.log.2026010{number}-080000").write_text(str(number))
    make_room(path, 5)
    left = sorted(each.name for each in tmp_path.iterdir())
    assert left == ["0.log", "0.log.20260103-080000.gz", "0.log.20260104-080000.gz", "0.log.20260105-080000.gz"]
    assert gzip.decompress((tmp_path / left[1]).read_bytes()) == b"3"


def test_a_log_that_has_grown_too_large_is_rotated(tell):
    async def story(world):
        pod = await world.create("web")
        await world.until_pod("web", running)
        await world.clock.sleep(30)
        directory = world.config.logs_dir / f"default_web_{pod['metadata']['uid']}" / "main"
        assert len(list(directory.iterdir())) >= 2

    tell(story, {"main": Behaviour(log=["x" * 200])}, log_max_bytes=100)


def test_unused_images_go_when_the_disk_is_full_and_built_in_ones_stay(tell):
    async def story(world):
        await world.create("web")
        await world.until_pod("web", running)
        await world.runtime.pull_image("unused:1")
        await world.runtime.pull_image("kobune.local/pause:latest")
        collector = world.kubelet._image_gc
        collector._disk = lambda: {"capacityBytes": 100, "availableBytes": 1}
        await collector.collect()
        await world.clock.sleep(200)
        await collector.collect()
        left = {tag for image in await world.runtime.list_images() for tag in image.tags}
        assert left == {"app:1", "kobune.local/pause:latest"}

    tell(story)


def test_images_are_shown_in_the_node_s_status(tell):
    async def story(world):
        await world.runtime.pull_image("app:1")
        await world.clock.sleep(80)
        node = await world.call("GET", "/api/v1/nodes/node-1")
        assert "app:1" in node["status"]["images"][0]["names"]

    tell(story)


def test_a_node_registers_itself_with_what_it_is_and_has(tell):
    async def story(world):
        await world.clock.sleep(2)
        node = await world.call("GET", "/api/v1/nodes/node-1")
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
        status = node["status"]
        assert status["capacity"] == {
            "cpu": "2",
            "ephemeral-storage": "64Gi",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": "8Gi",
            "pods": "110",
        }
        assert status["allocatable"]["memory"] == "8092Mi"
        assert status["nodeInfo"]["containerRuntimeVersion"] == "simulated://1.0.0"
        assert {it["type"]: it["status"] for it in status["conditions"]} == {
            "MemoryPressure": "False",
            "DiskPressure": "False",
            "PIDPressure": "False",
            "Ready": "True",
        }
        lease = await world.call("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1")
        assert lease["spec"]["leaseDurationSeconds"] == 40

    tell(story)


def test_an_unready_runtime_makes_the_node_not_ready(tell):
    async def story(world):
        await world.clock.sleep(2)
        world.runtime.unready = "container runtime network not ready"

        async def ready():
            node = await world.call("GET", "/api/v1/nodes/node-1")
            return next(it for it in node["status"]["conditions"] if it["type"] == "Ready")

        await world.clock.sleep(15)
        condition = await ready()
        assert (condition["status"], condition["reason"]) == ("False", "KubeletNotReady")
        assert condition["message"] == "container runtime network not ready"
        world.runtime.unready = ""
        await world.clock.sleep(15)
        assert (await ready())["status"] == "True"

    tell(story)


def test_a_node_that_somebody_deleted_comes_back(tell):
    async def story(world):
        await world.clock.sleep(2)
        await world.call("DELETE", "/api/v1/nodes/node-1")
        await world.clock.sleep(320)
        assert await world.call("GET", "/api/v1/nodes/node-1")

    tell(story)


def test_an_idle_node_writes_its_lease_and_little_else(tell):
    async def story(world):
        await world.clock.sleep(20)
        before = (await world.call("GET", "/api/v1/nodes/node-1"))["metadata"]["resourceVersion"]
        await world.clock.sleep(200)
        assert (await world.call("GET", "/api/v1/nodes/node-1"))["metadata"]["resourceVersion"] == before

    tell(story)


MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: control}
spec:
  containers: [{name: main, image: "app:1"}]
"""


def test_a_static_pod_runs_and_shows_as_a_mirror(tell, tmp_path):
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "control.yaml").write_text(MANIFEST)
    (manifests / "broken.yaml").write_text("kind: [")

    async def story(world):
        pod = await world.until_pod_if_any("control-node-1", running)
        assert pod["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
        uid = pod["metadata"]["uid"]
        await world.delete("control-node-1", grace=0)
        again = await world.until_pod_if_any(
            "control-node-1", lambda pod: pod["metadata"]["uid"] != uid and running(pod)
        )
        assert [call for call in world.runtime.calls if call.startswith("start")] == ["start_container main"]
        assert again["status"]["containerStatuses"] == pod["status"]["containerStatuses"]
        (manifests / "control.yaml").unlink()
        await world.until_gone("control-node-1", 60)

    tell(story, manifest_dir=manifests)


def test_a_changed_manifest_is_another_pod(tmp_path):
    (tmp_path / "a.yaml").write_text(MANIFEST)
    before = set(read_manifests(tmp_path, "node-1"))
    (tmp_path / "a.yaml").write_text(MANIFEST.replace("app:1", "app:2"))
    assert before.isdisjoint(read_manifests(tmp_path, "node-1"))


def test_a_shutdown_ends_pods_with_critical_ones_last(tell):
    async def story(world):
        important = {"metadata": {"name": "system-node-critical"}, "value": 2000001000}
        await world.call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", important)
        await world.create("web")
        await world.create("critical", priorityClassName="system-node-critical")
        for name in ("web", "critical"):
            await world.until_pod(name, running)
        await world.kubelet.shut_down()
        pod = await world.until_pod("web", lambda pod: pod["status"]["phase"] == "Failed", 60)
        assert pod["status"]["reason"] == "Terminated"
        assert pod["status"]["message"] == "Pod was terminated in response to imminent node shutdown."
        await world.create("late")
        pod = await world.until_pod("late", lambda pod: pod["status"].get("phase") == "Failed", 60)
        assert pod["status"]["reason"] == "NodeShutdown"

    tell(story, shutdown_grace_seconds=20, shutdown_grace_critical_seconds=10)


def test_a_pod_too_large_for_the_node_fails_at_once(tell):
    async def story(world):
        await world.create("big", main={"resources": {"requests": {"cpu": "100"}}})
        pod = await world.until_pod("big", lambda pod: pod["status"].get("phase") == "Failed", 30)
        assert pod["status"]["reason"] == "OutOfcpu"

    tell(story)


def test_nulls_in_manifests_are_as_good_as_nothing():
    pod = pod_from_json(
        {"metadata": {"name": "a", "labels": None}, "spec": {"containers": [{"name": "c", "env": None}]}}
    )
    assert pod.spec.containers[0].env == []


def test_volumes_of_a_group_can_be_written_by_it(tmp_path):
    file = tmp_path / "f"
    file.write_text("x")
    file.chmod(0o600)
    give_to_group(tmp_path, tmp_path.stat().st_gid)
    assert file.stat().st_mode & 0o777 == 0o660
    assert tmp_path.stat().st_mode & 0o2770 == 0o2770


@pytest.mark.parametrize("image", [Image("sha256:1", [], [], 1)])
def test_images_without_names_do_not_disturb(tell, image):
    async def story(world):
        world.runtime._images["x"] = image
        await world.clock.sleep(80)
        assert (await world.call("GET", "/api/v1/nodes/node-1"))["status"].get("images", []) == []

    tell(story)
