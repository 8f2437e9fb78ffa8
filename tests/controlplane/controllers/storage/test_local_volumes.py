"""Directories as volumes: made for claims, expanded, and removed with them."""

import pytest

from kobune.controlplane.controllers.controller import Settings

LOCAL = "persistentvolume-binder-controller,kobune-local-volume-controller,persistentvolumeclaim-protection-controller"
HOST = "kubernetes.io/hostname"


def storage_class(mode="WaitForFirstConsumer", policy="Delete", **rest):
    return {
        "metadata": {"name": "local"},
        "provisioner": "kobune.local/volumes",
        "volumeBindingMode": mode,
        "reclaimPolicy": policy,
        "allowVolumeExpansion": True,
        **rest,
    }


def claim(name="data", size="5Gi", node="", **spec):
    metadata = {"name": name, **({"annotations": {"volume.kubernetes.io/selected-node": node}} if node else {})}
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": metadata, "spec": {"storageClassName": "local", **asked}}


async def node(world, name):
    await world.create("nodes", {"metadata": {"name": name, "labels": {HOST: name}}}, "")
    await world.patch("nodes", name, {"spec": {"taints": None}}, "")
    ready = [{"type": "Ready", "status": "True"}]
    await world.patch("nodes", name, {"status": {"conditions": ready}}, "", "status")


@pytest.fixture
def settings(tmp_path):
    async def at_once(work, *arguments):
        return work(*arguments)

    return Settings(local_volumes=tmp_path, offload=at_once)


async def events(world, name):
    return [each["reason"] for each in await world.list("events") if name in each["metadata"]["name"]]


def test_a_volume_is_made_on_the_node_that_the_scheduler_has_chosen(tell, settings, tmp_path):
    async def story(world):
        await world.create("storageclasses", storage_class(), "")
        await node(world, "node-b")
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        before = await world.list("persistentvolumes", "")
        mark = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-b"}}}
        await world.patch("persistentvolumeclaims", "data", mark)
        await world.sleep(2)
        return before, await world.get("persistentvolumeclaims", "data"), await world.list("persistentvolumes", "")

    before, bound, (volume,) = tell(story, LOCAL, settings=settings)
    assert before == []
    assert bound["status"]["phase"] == "Bound"
    assert bound["status"]["capacity"] == {"storage": "5Gi"}
    name = f"pvc-{bound['metadata']['uid']}"
    assert volume["metadata"]["name"] == bound["spec"]["volumeName"] == name
    assert volume["spec"]["local"]["path"] == str(tmp_path / "node-b" / "volumes" / name)
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [{"key": HOST, "operator": "In", "values": ["node-b"]}]}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    assert volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == "kobune.local/volumes"


def test_an_immediate_class_needs_no_pod(tell, settings):
    async def story(world):
        await world.create("storageclasses", storage_class("Immediate"), "")
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        await node(world, "node-a")
        await world.sleep(2)
        return await world.get("persistentvolumeclaims", "data")

    assert tell(story, LOCAL, settings=settings)["status"]["phase"] == "Bound"


def test_a_shared_volume_is_bound_to_no_node(tell, settings, tmp_path):
    async def story(world):
        await world.create("storageclasses", storage_class("Immediate", parameters={"shared": "true"}), "")
        await world.create("persistentvolumeclaims", claim(accessModes=["ReadWriteMany"]))
        await world.sleep(2)
        return await world.list("persistentvolumes", "")

    (volume,) = tell(story, LOCAL, settings=settings)
    assert volume["status"]["phase"] == "Bound"
    assert "nodeAffinity" not in volume["spec"]
    assert volume["spec"]["hostPath"]["path"].startswith(str(tmp_path / "shared"))


@pytest.mark.parametrize("policy, files, volumes", [("Delete", False, 0), ("Retain", True, 1)])
def test_the_reclaim_policy_decides_over_volume_and_files(tell, settings, policy, files, volumes):
    async def story(world):
        await world.create("storageclasses", storage_class(policy=policy), "")
        await node(world, "node-a")
        await world.create("persistentvolumeclaims", claim(node="node-a"))
        await world.sleep(2)
        (volume,) = await world.list("persistentvolumes", "")
        place = settings.local_volumes / "node-a" / "volumes" / volume["metadata"]["name"]
        place.mkdir(parents=True)
        (place / "file").write_text("kept?")
        await world.delete("persistentvolumeclaims", "data")
        await world.sleep(5)
        return place.exists(), await world.list("persistentvolumes", "")

    controllers = f"{LOCAL},persistentvolume-protection-controller"
    kept, left = tell(story, controllers, settings=settings)
    assert (kept, len(left)) == (files, volumes)


def test_no_directory_but_the_provisioners_own_is_ever_removed(tell, settings, tmp_path):
    victim = tmp_path / "victim" / "volumes" / "precious"
    victim.mkdir(parents=True)

    async def story(world):
        await world.create(
            "persistentvolumes",
            {
                "metadata": {
                    "name": "trick",
                    "annotations": {"pv.kubernetes.io/provisioned-by": "kobune.local/volumes"},
                },
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Delete",
                    "hostPath": {"path": str(victim)},
                    "claimRef": {"namespace": "default", "name": "gone", "uid": "1"},
                },
            },
            "",
        )
        await world.sleep(5)
        return await world.find("persistentvolumes", "trick", "")

    assert tell(story, f"{LOCAL},persistentvolume-protection-controller", settings=settings) is None
    assert victim.is_dir()


def test_a_claim_that_asks_for_more_gets_it(tell, settings):
    async def story(world):
        await world.create("storageclasses", storage_class(), "")
        await node(world, "node-a")
        await world.create("persistentvolumeclaims", claim(node="node-a"))
        await world.sleep(2)
        more = {"spec": {"resources": {"requests": {"storage": "8Gi"}}}}
        await world.patch("persistentvolumeclaims", "data", more)
        await world.sleep(2)
        (volume,) = await world.list("persistentvolumes", "")
        return await world.get("persistentvolumeclaims", "data"), volume, await events(world, "data")

    bound, volume, said = tell(story, f"{LOCAL},persistentvolume-expander-controller", settings=settings)
    assert bound["status"]["capacity"] == volume["spec"]["capacity"] == {"storage": "8Gi"}
    assert "conditions" not in bound["status"]
    assert said[-2:] == ["Resizing", "VolumeResizeSuccessful"]


def test_a_full_node_sends_the_claim_back_to_the_scheduler(tell, settings):
    async def story(world):
        await world.create("storageclasses", storage_class(parameters={"capacityPerNode": "8Gi"}), "")
        await node(world, "node-a")
        await world.create("persistentvolumeclaims", claim("first", node="node-a"))
        await world.sleep(2)
        await world.create("persistentvolumeclaims", claim("second", node="node-a"))
        await world.sleep(2)
        return await world.get("persistentvolumeclaims", "second"), await events(world, "second")

    second, said = tell(story, LOCAL, settings=settings)
    assert second["status"]["phase"] == "Pending"
    assert "volume.kubernetes.io/selected-node" not in second["metadata"]["annotations"]
    assert "ProvisioningFailed" in said
