import orjson
import pytest

from kobune.api.errors import TooManyRequests
from kobune.api.timestamps import format_time

ONLY = "disruption-controller,deployment-controller,replicaset-controller"


def deployment(replicas):
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}


def budget(**spec):
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}


async def counted(world, allowed):
    async def check():
        status = (await world.get("poddisruptionbudgets", "web")).get("status", {})
        return status if status.get("disruptionsAllowed") == allowed else None

    return await world.until(check)


@pytest.mark.parametrize(
    ("spec", "desired", "expected", "allowed"),
    [
        ({"minAvailable": 3}, 3, 5, 2),
        ({"minAvailable": "50%"}, 3, 5, 2),
        ({"maxUnavailable": 1}, 4, 5, 1),
        ({"maxUnavailable": "30%"}, 3, 5, 2),
    ],
)
def test_a_budget_counts_what_may_be_missing(tell, spec, desired, expected, allowed):
    async def story(world):
        await world.create("deployments", deployment(5))
        await world.create("poddisruptionbudgets", budget(**spec))
        return await counted(world, allowed)

    status = tell(story, ONLY)
    assert (status["desiredHealthy"], status["expectedPods"], status["currentHealthy"]) == (desired, expected, 5)
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "DisruptionAllowed",
        "True",
        "SufficientPods",
    )


def test_evictions_spend_the_budget_and_new_pods_restore_it(tell):
    async def story(world):
        await world.create("deployments", deployment(3))
        await world.create("poddisruptionbudgets", budget(maxUnavailable=1))
        await counted(world, 1)
        one, two, _ = [pod["metadata"]["name"] for pod in await world.list("pods")]
        world.ready_after = 20.0

        async def evict(name):
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
            await world._send("POST", world.path("pods", "default", name, "eviction"), body)

        await evict(one)
        with pytest.raises(TooManyRequests, match="disruption budget"):
            await evict(two)
        await world.sleep(5)
        status = (await world.get("poddisruptionbudgets", "web"))["status"]
        await counted(world, 1)
        await evict(two)
        return status

    status = tell(story, ONLY)
    assert status["currentHealthy"] == 2
    assert status["conditions"][0]["reason"] == "InsufficientPods"


def test_pods_without_a_manager_cannot_be_counted_in_shares(tell):
    async def story(world):
        spec = {"containers": [{"name": "c", "image": "i"}]}
        references = [{"apiVersion": "example.com/v1", "kind": "Thing", "name": "x", "uid": "1", "controller": True}]
        metadata = {"name": "p", "labels": {"app": "web"}, "ownerReferences": references}
        await world.create("pods", {"metadata": metadata, "spec": spec})
        await world.create("poddisruptionbudgets", budget(maxUnavailable=1))
        await world.sleep(3)
        return (await world.get("poddisruptionbudgets", "web"))["status"]

    status = tell(story, ONLY)
    (condition,) = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "SyncFailed")
    # Nothing was counted, so no generation was seen; upstream writes the field as 0 and leaves it out.
    assert (status.get("observedGeneration", 0), condition.get("observedGeneration", 0)) == (0, 0)
    assert condition["message"] == 'no matches for kind "Thing" in version "example.com/v1"'


def test_a_disruption_that_does_not_happen_is_taken_back(tell):
    async def story(world):
        spec = {"containers": [{"name": "c", "image": "i"}]}
        await world.create("pods", {"metadata": {"name": "p"}, "spec": spec})
        await world.sleep(2)
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        condition["lastTransitionTime"] = "2026-01-05T08:00:02Z"
        conditions = [*(await world.get("pods", "p"))["status"]["conditions"], condition]
        await world.patch("pods", "p", {"status": {"conditions": conditions}}, subresource="status")
        await world.sleep(110)
        before = await world.get("pods", "p")
        await world.sleep(20)
        return [
            next(each["status"] for each in pod["status"]["conditions"] if each["type"] == "DisruptionTarget")
            for pod in (before, await world.get("pods", "p"))
        ]

    assert tell(story, ONLY) == ["True", "False"]


def test_an_evicted_pod_that_stays_is_told_of_and_counts_again(tell):
    async def story(world):
        await world.create("deployments", deployment(2))
        await world.create("poddisruptionbudgets", budget(maxUnavailable=1))
        await counted(world, 1)
        name = (await world.list("pods"))[0]["metadata"]["name"]
        evicted = {"disruptedPods": {name: format_time(world.clock.now())}}
        await world.patch("poddisruptionbudgets", "web", {"status": evicted}, subresource="status")
        await counted(world, 0)
        await world.sleep(130)
        events = [each for each in await world.list("events") if each["reason"] == "NotDeleted"]
        return name, (await world.get("poddisruptionbudgets", "web"))["status"], events

    name, status, (event,) = tell(story, ONLY)
    assert (status["disruptionsAllowed"], status.get("disruptedPods")) == (1, None)
    assert (event["involvedObject"]["name"], event["type"]) == (name, "Warning")
    assert event["message"] == "Pod was expected by PDB default/web to be deleted but it wasn't"


async def own_pods(world, owner, count):
    """Ready pods that the owner manages."""
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    for number in range(count):
        metadata = {"name": f"p{number}", "labels": {"app": "web"}, "ownerReferences": [reference]}
        await world.create("pods", {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i"}]}})


async def custom_owner(world, *, scaled):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    if scaled:
        version["subresources"] = {"status": {}, "scale": paths}
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    spec = {"group": "sea.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    await world.create("customresourcedefinitions", {"metadata": {"name": "boats.sea.example.com"}, "spec": spec}, "")
    await world.sleep(1)
    boat = {"apiVersion": "sea.example.com/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"replicas": 10}}
    path = "/apis/sea.example.com/v1/namespaces/default/boats"
    return orjson.loads(await world.client.call("POST", path, body=orjson.dumps(boat)))


def test_a_custom_kind_with_a_scale_is_counted_by_it(tell):
    async def story(world):
        await own_pods(world, await custom_owner(world, scaled=True), 9)
        await world.create("poddisruptionbudgets", budget(minAvailable="75%"))
        return await counted(world, 1)

    status = tell(story, ONLY)
    assert (status["expectedPods"], status["desiredHealthy"], status["currentHealthy"]) == (10, 8, 9)


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        pytest.param("custom", "boats.sea.example.com does not implement the scale subresource", id="custom"),
        pytest.param("jobs", "jobs.batch does not implement the scale subresource", id="job"),
        pytest.param("unknown", 'no matches for kind "Ship" in version "sea.example.com/v1"', id="unknown"),
        pytest.param("gone", 'found no controllers for pod "p0"', id="gone"),
    ],
)
def test_pods_whose_manager_says_no_number_stop_all_disruption(tell, owner, message):
    async def story(world):
        if owner == "custom":
            item = await custom_owner(world, scaled=False)
        elif owner == "jobs":
            spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
            item = await world.create("jobs", {"metadata": {"name": "j"}, "spec": {"template": {"spec": spec}}})
        else:
            item = {"apiVersion": "sea.example.com/v1", "kind": "Ship", "metadata": {"name": "s", "uid": "u"}}
            if owner == "gone":
                item |= {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
        await own_pods(world, item, 1)
        await world.create("poddisruptionbudgets", budget(maxUnavailable=1))

        async def failed():
            status = (await world.get("poddisruptionbudgets", "web")).get("status", {})
            return next((each for each in status.get("conditions", []) if each["reason"] == "SyncFailed"), None)

        found = await world.until(failed)
        return found, await world.list("events")

    condition, events = tell(story, "disruption-controller", nodes=False)
    assert (condition["status"], condition["message"]) == ("False", message)
    told = f"Failed to calculate the number of expected pods: {message}"
    assert told in {each["message"] for each in events if each["reason"] == "CalculateExpectedPodCountFailed"}


def test_of_several_managers_each_is_counted_once(tell):
    async def story(world):
        for name in ("web", "more"):
            item = deployment(4)
            item["metadata"]["name"] = name
            item["spec"]["template"]["metadata"]["labels"]["of"] = name
            item["spec"]["selector"]["matchLabels"]["of"] = name
            await world.create("deployments", item)
        await world.create("poddisruptionbudgets", budget(minAvailable="70%"))
        return await counted(world, 2)

    status = tell(story, ONLY)
    assert (status["expectedPods"], status["desiredHealthy"], status["currentHealthy"]) == (8, 6, 8)
