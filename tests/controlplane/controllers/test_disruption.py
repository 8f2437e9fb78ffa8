import pytest

from kobune.api.errors import TooManyRequests

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

    (condition,) = tell(story, ONLY)["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "SyncFailed")
    assert condition["message"] == 'found no controllers for pod "p"'


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
