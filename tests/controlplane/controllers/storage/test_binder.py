"""Claims and volumes find each other, and part."""

import pytest

BINDER = "persistentvolume-binder-controller"


def volume(name, size="5Gi", policy="Retain", storage_class="slow", **spec):
    return {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": storage_class,
            "hostPath": {"path": f"/mnt/{name}"},
            **spec,
        },
    }


def claim(name="data", size="5Gi", storage_class="slow", **spec):
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    if storage_class is not None:
        asked["storageClassName"] = storage_class
    return {"metadata": {"name": name}, "spec": asked}


def storage_class(name="slow", provisioner="example.com/disk", mode="Immediate", **rest):
    return {"metadata": {"name": name, **rest}, "provisioner": provisioner, "volumeBindingMode": mode}


async def events(world, name):
    return [
        (each["reason"], each["message"]) for each in await world.list("events") if name in each["metadata"]["name"]
    ]


def test_a_claim_is_bound_to_the_smallest_volume_that_suits_it(tell):
    async def story(world):
        await world.create("persistentvolumes", volume("large", "50Gi"), "")
        await world.create("persistentvolumes", volume("small", "6Gi"), "")
        await world.sleep(1)
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        return (
            await world.get("persistentvolumeclaims", "data"),
            await world.get("persistentvolumes", "small", ""),
            await world.get("persistentvolumes", "large", ""),
        )

    bound, small, large = tell(story, BINDER)
    assert bound["spec"]["volumeName"] == "small"
    assert bound["metadata"]["annotations"] == {
        "pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes",
    }
    assert bound["status"] == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "6Gi"}}
    assert small["status"]["phase"] == "Bound"
    assert small["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
    assert small["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
    assert large["status"]["phase"] == "Available"


def test_a_waiting_claim_takes_a_volume_that_comes_later(tell):
    async def story(world):
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        before = await world.get("persistentvolumeclaims", "data")
        await world.create("persistentvolumes", volume("late"), "")
        await world.sleep(2)
        return before, await world.get("persistentvolumeclaims", "data"), await events(world, "data")

    before, after, said = tell(story, BINDER)
    assert before["status"] == {"phase": "Pending"}
    assert after["status"]["phase"] == "Bound"
    assert said[0] == ("ProvisioningFailed", 'storageclass.storage.k8s.io "slow" not found')


def test_many_claims_and_volumes_are_paired_one_to_one(tell):
    async def story(world):
        for number in range(20):
            await world.create("persistentvolumeclaims", claim(f"c{number}"))
            await world.create("persistentvolumes", volume(f"v{number}"), "")
        await world.sleep(20)
        claims = await world.list("persistentvolumeclaims")
        volumes = await world.list("persistentvolumes", "")
        return claims, volumes

    claims, volumes = tell(story, BINDER)
    pairs = {(each["metadata"]["name"], each["spec"]["volumeName"]) for each in claims}
    assert pairs == {(each["spec"]["claimRef"]["name"], each["metadata"]["name"]) for each in volumes}
    assert {each["status"]["phase"] for each in claims} == {"Bound"}


def test_a_claim_that_waits_for_its_consumer_says_so_and_is_left_to_the_scheduler(tell):
    async def story(world):
        await world.create("storageclasses", storage_class(mode="WaitForFirstConsumer"), "")
        await world.create("persistentvolumes", volume("free"), "")
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        mount = {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
        await world.create(
            "pods",
            {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [mount]}},
        )
        await world.sleep(16)
        return await world.get("persistentvolumeclaims", "data"), await events(world, "data")

    waiting, said = tell(story, BINDER, nodes=False)
    assert waiting["status"] == {"phase": "Pending"}
    assert said == [
        ("WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        ("WaitForPodScheduled", "waiting for pod p to be scheduled"),
    ]


def test_the_provisioner_of_the_class_is_told_once_no_volume_suits(tell):
    async def story(world):
        await world.create("storageclasses", storage_class(), "")
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        return await world.get("persistentvolumeclaims", "data"), await events(world, "data")

    asked, said = tell(story, BINDER)
    assert asked["metadata"]["annotations"] == {
        "volume.beta.kubernetes.io/storage-provisioner": "example.com/disk",
        "volume.kubernetes.io/storage-provisioner": "example.com/disk",
    }
    assert said == [
        (
            "ExternalProvisioning",
            "Waiting for a volume to be created either by the external provisioner 'example.com/disk' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered.",
        )
    ]


def test_a_claim_made_before_the_default_class_gets_it_afterwards(tell):
    async def story(world):
        await world.create("persistentvolumeclaims", claim(storage_class=None))
        await world.sleep(2)
        said = await events(world, "data")
        mark = {"storageclass.kubernetes.io/is-default-class": "true"}
        await world.create("storageclasses", storage_class("new", annotations=mark), "")
        await world.sleep(2)
        return said, await world.get("persistentvolumeclaims", "data")

    said, after = tell(story, BINDER)
    assert said == [
        ("FailedBinding", "no persistent volumes available for this claim and no storage class is set"),
    ]
    assert after["spec"]["storageClassName"] == "new"


def test_a_volume_asked_for_by_name_is_had_if_it_suits(tell):
    async def story(world):
        await world.create("persistentvolumes", volume("one"), "")
        await world.create("persistentvolumeclaims", claim("large", "6Gi", volumeName="one"))
        await world.create("persistentvolumeclaims", claim("fits", volumeName="one"))
        await world.sleep(3)
        return (
            await world.get("persistentvolumeclaims", "large"),
            await world.get("persistentvolumeclaims", "fits"),
            await events(world, "large"),
        )

    large, fits, said = tell(story, BINDER)
    assert fits["status"]["phase"] == "Bound"
    assert "pv.kubernetes.io/bound-by-controller" not in fits["metadata"]["annotations"]
    assert large["status"]["phase"] == "Pending"
    assert said[0] in [
        ("VolumeMismatch", 'Cannot bind to requested volume "one": requested PV is too small'),
        ("FailedBinding", 'volume "one" already bound to a different claim.'),
    ]


def test_a_claim_that_loses_its_volume_is_lost(tell):
    async def story(world):
        await world.create("persistentvolumes", volume("one"), "")
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        await world.patch("persistentvolumes", "one", {"metadata": {"finalizers": None}}, "")
        await world.delete("persistentvolumes", "one", "")
        await world.sleep(2)
        return await world.get("persistentvolumeclaims", "data"), await events(world, "data")

    lost, said = tell(story, BINDER)
    assert lost["status"] == {"phase": "Lost"}
    assert said[-1:] == [("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")]


@pytest.mark.parametrize(
    "policy, phase, said",
    [
        pytest.param("Retain", "Released", [], id="retained"),
        pytest.param(
            "Delete",
            "Failed",
            [
                (
                    "VolumeFailedDelete",
                    'error getting deleter volume plugin for volume "one": no deletable volume plugin matched',
                )
            ],
            id="nobody-can-delete-it",
        ),
        pytest.param(
            "Recycle", "Failed", [("VolumeFailedRecycle", "No recycler plugin found for the volume!")], id="recycled"
        ),
    ],
)
def test_what_becomes_of_a_volume_whose_claim_is_deleted(tell, policy, phase, said):
    async def story(world):
        await world.create("persistentvolumes", volume("one", policy=policy), "")
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        await world.patch("persistentvolumeclaims", "data", {"metadata": {"finalizers": None}})
        await world.delete("persistentvolumeclaims", "data")
        await world.sleep(3)
        return await world.get("persistentvolumes", "one", ""), await events(world, "one")

    left, told = tell(story, BINDER)
    assert left["status"]["phase"] == phase
    assert left["spec"]["claimRef"]["name"] == "data"
    assert told == said


def test_a_released_volume_is_free_again_when_somebody_takes_the_reference_away(tell):
    async def story(world):
        await world.create("persistentvolumes", volume("one"), "")
        await world.create("persistentvolumeclaims", claim())
        await world.sleep(2)
        await world.patch("persistentvolumeclaims", "data", {"metadata": {"finalizers": None}})
        await world.delete("persistentvolumeclaims", "data")
        await world.sleep(2)
        await world.create("persistentvolumeclaims", claim("next"))
        await world.sleep(2)
        before = await world.get("persistentvolumeclaims", "next")
        await world.patch("persistentvolumes", "one", {"spec": {"claimRef": None}}, "")
        await world.sleep(2)
        return before, await world.get("persistentvolumeclaims", "next")

    before, after = tell(story, BINDER)
    assert before["status"]["phase"] == "Pending"
    assert after["status"]["phase"] == "Bound"
