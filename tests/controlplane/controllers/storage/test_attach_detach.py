"""Volumes of CSI drivers are attached where pods need them, and only there."""

import hashlib

CONTROLLER = "persistentvolume-attach-detach-controller"
DEVICE = "kubernetes.io/csi/disk.example.com^handle-1"


async def volume(world, modes=("ReadWriteOnce",)):
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": list(modes),
        "csi": {"driver": "disk.example.com", "volumeHandle": "handle-1"},
    }
    asked = {"accessModes": list(modes), "resources": {"requests": {"storage": "1Gi"}}}
    claim = await world.create(
        "persistentvolumeclaims", {"metadata": {"name": "data"}, "spec": {**asked, "volumeName": "vol"}}
    )
    reference = {"namespace": "default", "name": "data", "uid": claim["metadata"]["uid"]}
    await world.create("persistentvolumes", {"metadata": {"name": "vol"}, "spec": {**spec, "claimRef": reference}}, "")


async def node(world, name, in_use=()):
    await world.create("nodes", {"metadata": {"name": name}}, "")
    status = {"conditions": [{"type": "Ready", "status": "True"}], "volumesInUse": list(in_use)}
    await world.patch("nodes", name, {"status": status}, "", "status")


async def pod(world, name, on):
    mount = {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
    spec = {"nodeName": on, "containers": [{"name": "c", "image": "i"}], "volumes": [mount]}
    await world.create("pods", {"metadata": {"name": name}, "spec": spec})


async def attachments(world):
    found = await world.list("volumeattachments", "")
    return {each["spec"]["nodeName"]: each for each in found}


async def mark_attached(world):
    for each in (await attachments(world)).values():
        status = {"status": {"attached": True}}
        await world.patch("volumeattachments", each["metadata"]["name"], status, "", "status")


async def reasons(world, name):
    return [
        (each["reason"], each["message"])
        for each in await world.list("events")
        if each["involvedObject"]["name"] == name
    ]


def test_a_scheduled_pods_volume_is_attached_to_its_node_and_reported_there(tell):
    async def story(world):
        await volume(world)
        await node(world, "n1")
        await pod(world, "p", "n1")
        await world.sleep(2)
        made = await attachments(world)
        await mark_attached(world)
        await world.sleep(2)
        return made, (await world.get("nodes", "n1", ""))["status"], await reasons(world, "p")

    made, status, said = tell(story, CONTROLLER, nodes=False)
    digest = hashlib.sha256(b"handle-1disk.example.comn1").hexdigest()
    assert made["n1"]["metadata"]["name"] == f"csi-{digest}"
    assert made["n1"]["spec"] == {
        "attacher": "disk.example.com",
        "nodeName": "n1",
        "source": {"persistentVolumeName": "vol"},
    }
    assert status["volumesAttached"] == [{"name": DEVICE, "devicePath": ""}]
    assert said == [("SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "vol" ')]


def test_a_driver_that_needs_no_attaching_is_left_alone(tell):
    async def story(world):
        await world.create(
            "csidrivers", {"metadata": {"name": "disk.example.com"}, "spec": {"attachRequired": False}}, ""
        )
        await volume(world)
        await node(world, "n1")
        await pod(world, "p", "n1")
        await world.sleep(2)
        return await attachments(world)

    assert tell(story, CONTROLLER, nodes=False) == {}


def test_a_volume_for_one_node_moves_only_when_the_first_has_let_it_go(tell):
    async def story(world):
        await volume(world)
        await node(world, "n1", [DEVICE])
        await node(world, "n2")
        await pod(world, "old", "n1")
        await world.sleep(2)
        await mark_attached(world)
        await pod(world, "new", "n2")
        await world.sleep(2)
        both = set(await attachments(world))
        said = await reasons(world, "new")
        await world.delete("pods", "old", gracePeriodSeconds=0)
        await world.sleep(30)
        held = set(await attachments(world))
        await world.patch("nodes", "n1", {"status": {"volumesInUse": None}}, "", "status")
        await world.sleep(5)
        return both, said, held, set(await attachments(world))

    both, said, held, moved = tell(story, CONTROLLER, nodes=False)
    assert both == held == {"n1"}
    assert said == [("FailedAttachVolume", 'Multi-Attach error for volume "vol" Volume is already used by pod(s) old')]
    assert moved == {"n2"}


def test_a_volume_for_many_is_attached_to_all(tell):
    async def story(world):
        await volume(world, ("ReadWriteMany",))
        for name in ("n1", "n2"):
            await node(world, name)
            await pod(world, f"p-{name}", name)
        await world.sleep(2)
        return set(await attachments(world))

    assert tell(story, CONTROLLER, nodes=False) == {"n1", "n2"}


def test_a_node_out_of_service_keeps_nothing(tell):
    async def story(world):
        await volume(world)
        await node(world, "n1", [DEVICE])
        await pod(world, "p", "n1")
        await world.sleep(2)
        await mark_attached(world)
        await world.delete("pods", "p", gracePeriodSeconds=0)
        await world.sleep(2)
        held = set(await attachments(world))
        taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
        await world.patch("nodes", "n1", {"spec": {"taints": [taint]}}, "")
        await world.sleep(2)
        return held, set(await attachments(world))

    assert tell(story, CONTROLLER, nodes=False) == ({"n1"}, set())


def test_an_attachment_of_somebody_elses_making_is_left_alone(tell):
    async def story(world):
        spec = {"attacher": "other", "nodeName": "n1", "source": {"persistentVolumeName": "vol"}}
        await world.create("volumeattachments", {"metadata": {"name": "by-hand"}, "spec": spec}, "")
        await world.sleep(60)
        return list(await attachments(world))

    assert tell(story, CONTROLLER, nodes=False) == ["n1"]
