"""Claims to devices: made from templates, and given back."""

import pytest

CONTROLLERS = "resourceclaim-controller,garbage-collector-controller"


def template():
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
    return {
        "metadata": {"name": "gpu"},
        "spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {"requests": [request]}}},
    }


def pod(name="p", **claim):
    spec = {"containers": [{"name": "c", "image": "i"}], "resourceClaims": [{"name": "device", **claim}]}
    return {"metadata": {"name": name}, "spec": spec}


def in_use_by(uid):
    """The status of a claim that pod p uses."""
    result = {"request": "gpu", "driver": "gpu.example.com", "pool": "node", "device": "gpu-0"}
    return {
        "allocation": {"devices": {"results": [result]}},
        "reservedFor": [{"resource": "pods", "name": "p", "uid": uid}],
    }


def test_a_pod_that_names_a_template_gets_a_claim_of_its_own(tell):
    async def story(world):
        await world.create("pods", pod(resourceClaimTemplateName="gpu"))
        await world.sleep(2)
        none = await world.list("resourceclaims")
        await world.create("resourceclaimtemplates", template())
        await world.sleep(5)
        return none, await world.list("resourceclaims"), await world.get("pods", "p"), await world.list("events")

    none, (made,), told, events = tell(story, CONTROLLERS, nodes=False)
    assert none == []
    assert made["metadata"]["name"].startswith("p-device-")
    assert made["metadata"]["labels"] == {"a": "b"}
    assert made["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "device"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == told["metadata"]["uid"]
    assert told["status"]["resourceClaimStatuses"] == [
        {"name": "device", "resourceClaimName": made["metadata"]["name"]}
    ]
    (event,) = [each for each in events if each["reason"] == "FailedResourceClaimCreation"]
    assert event["message"] == (
        'PodResourceClaim device: resource claim template "gpu": resourceclaimtemplate.resource.k8s.io "gpu" not found'
    )


def test_the_claim_of_a_finished_pod_goes(tell):
    async def story(world):
        await world.create("resourceclaimtemplates", template())
        await world.create("pods", pod(resourceClaimTemplateName="gpu"))
        await world.sleep(2)
        before = len(await world.list("resourceclaims"))
        await world.patch("pods", "p", {"status": {"phase": "Succeeded"}}, subresource="status")
        await world.sleep(2)
        return before, len(await world.list("resourceclaims"))

    assert tell(story, CONTROLLERS, nodes=False) == (1, 0)


def test_a_claim_is_free_again_when_its_last_user_is_gone(tell):
    async def story(world):
        claim = {"metadata": {"name": "shared", "finalizers": ["resource.kubernetes.io/delete-protection"]}}
        await world.create("resourceclaims", {**claim, "spec": template()["spec"]["spec"]})
        user = await world.create("pods", pod(resourceClaimName="shared"))
        status = in_use_by(user["metadata"]["uid"])
        await world.patch("resourceclaims", "shared", {"status": status}, subresource="status")
        await world.sleep(2)
        held = (await world.get("resourceclaims", "shared"))["status"]
        await world.delete("pods", "p", gracePeriodSeconds=0)
        await world.sleep(2)
        return held, await world.get("resourceclaims", "shared")

    held, free = tell(story, CONTROLLERS, nodes=False)
    assert held["allocation"]["devices"]["results"][0]["device"] == "gpu-0"
    assert "allocation" not in free.get("status", {})
    assert "reservedFor" not in free.get("status", {})
    assert "finalizers" not in free["metadata"]


@pytest.mark.parametrize("end", ["Succeeded", "deleted"])
def test_the_claim_for_extended_resources_goes_with_the_end_of_its_pod(tell, end):
    async def story(world):
        user = await world.create("pods", {"metadata": {"name": "p"}, "spec": pod()["spec"] | {"resourceClaims": []}})
        uid = user["metadata"]["uid"]
        await world.create("resourceclaims", extended_claim(uid))
        await world.patch("resourceclaims", "p-extended", {"status": in_use_by(uid)}, subresource="status")
        mapping = {"containerName": "c", "resourceName": "example.com/gpu", "requestName": "gpu"}
        told = {"resourceClaimName": "p-extended", "requestMappings": [mapping]}
        await world.patch("pods", "p", {"status": {"extendedResourceClaimStatus": told}}, subresource="status")
        await world.sleep(5)
        before = await world.get("resourceclaims", "p-extended")
        if end == "deleted":
            await world.delete("pods", "p", gracePeriodSeconds=0)
        else:
            await world.patch("pods", "p", {"status": {"phase": end}}, subresource="status")
        await world.sleep(5)
        return before, await world.list("resourceclaims")

    before, after = tell(story, CONTROLLERS, nodes=False)
    assert before["status"]["reservedFor"][0]["name"] == "p"
    assert after == []


def extended_claim(uid):
    """As the scheduler makes it."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": True}
    metadata = {
        "name": "p-extended",
        "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
        "finalizers": ["resource.kubernetes.io/delete-protection"],
        "ownerReferences": [owner],
    }
    return {"metadata": metadata, "spec": template()["spec"]["spec"]}
