import random

import pytest

from kobune.api.errors import Forbidden

ONLY = "replicaset-controller"


def replica_set(name="web", replicas=3, **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def ready(world, count, name="web"):
    async def check():
        status = (await world.get("replicasets", name))["status"]
        return status.get("readyReplicas", 0) == count and status["replicas"] == count

    await world.until(check)


def test_it_makes_as_many_pods_as_asked_and_reports_them(tell):
    async def story(world):
        made = await world.create("replicasets", replica_set(replicas=10))
        await ready(world, 10)
        pods = await world.list("pods")
        status = (await world.get("replicasets", "web"))["status"]
        posts = [entry for entry in world.transport.log if entry[0] == "POST" and entry[1].endswith("/pods")]
        return made, pods, status, posts

    made, pods, status, posts = tell(story, ONLY)
    assert len(pods) == len(posts) == 10
    assert all(pod["metadata"]["name"].startswith("web-") for pod in pods)
    assert pods[0]["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": made["metadata"]["uid"],
            "controller": True, "blockOwnerDeletion": True,
        }
    ]  # fmt: skip
    assert status == {
        "replicas": 10, "fullyLabeledReplicas": 10, "readyReplicas": 10, "availableReplicas": 10,
        "terminatingReplicas": 0, "observedGeneration": 1,
    }  # fmt: skip


def test_scaling_down_deletes_pods_that_are_not_ready_first(tell):
    async def story(world):
        world.ready_after = 1.0
        await world.create("replicasets", replica_set(replicas=4))
        await ready(world, 4)
        sick = sorted(pod["metadata"]["name"] for pod in await world.list("pods"))[:2]
        for name in sick:
            await world.set_ready(name, ready=False)
        await world.patch("replicasets", "web", {"spec": {"replicas": 2}})
        await ready(world, 2)
        return sick, [pod["metadata"]["name"] for pod in await world.list("pods")]

    sick, left = tell(story, ONLY)
    assert not set(sick) & set(left)


def test_a_deleted_pod_is_replaced_and_a_finished_one_too(tell):
    async def story(world):
        await world.create("replicasets", replica_set(replicas=2))
        await ready(world, 2)
        one, two = [pod["metadata"]["name"] for pod in await world.list("pods")]
        await world.delete("pods", one)
        await world.patch("pods", two, {"status": {"phase": "Failed"}}, subresource="status")
        await world.sleep(5)
        await ready(world, 2)
        return one, two, [pod["metadata"]["name"] for pod in await world.list("pods")]

    one, two, names = tell(story, ONLY)
    assert one not in names
    assert two in names
    assert len(names) == 3


def test_it_adopts_matching_orphans_and_releases_what_no_longer_matches(tell):
    async def story(world):
        spec = {"containers": [{"name": "c", "image": "i"}]}
        await world.create("pods", {"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": spec})
        await world.create("replicasets", replica_set(replicas=2))
        await ready(world, 2)
        adopted = await world.get("pods", "stray")
        await world.patch("pods", "stray", {"metadata": {"labels": {"app": "other"}}})

        async def released():
            return not (await world.get("pods", "stray"))["metadata"].get("ownerReferences")

        await world.until(released)
        await ready(world, 2)
        return adopted, len(await world.list("pods"))

    adopted, count = tell(story, ONLY)
    assert adopted["metadata"]["ownerReferences"][0]["name"] == "web"
    assert count == 3


def test_a_pod_created_later_is_adopted_and_a_surplus_removed(tell):
    async def story(world):
        await world.create("replicasets", replica_set(replicas=2))
        await ready(world, 2)
        spec = {"containers": [{"name": "c", "image": "i"}]}
        await world.create("pods", {"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": spec})
        await world.sleep(5)
        await ready(world, 2)
        return len(await world.list("pods"))

    assert tell(story, ONLY) == 2


def test_min_ready_seconds_delay_availability(tell):
    async def story(world):
        await world.create("replicasets", replica_set(replicas=1, minReadySeconds=30))
        await ready(world, 1)
        assert (await world.get("replicasets", "web"))["status"].get("availableReplicas") is None
        began = world.clock.monotonic()

        async def available():
            return (await world.get("replicasets", "web"))["status"].get("availableReplicas") == 1

        await world.until(available)
        return world.clock.monotonic() - began

    assert 28 <= tell(story, ONLY) <= 31


def test_a_refused_creation_is_told_and_tried_ever_more_slowly(tell):
    def faults(world):
        world.refusing = True

        def fault(method, path):
            if world.refusing and method == "POST" and path.endswith("/pods"):
                return Forbidden('pods "web-" is forbidden: exceeded quota')
            return None

        return fault

    async def story(world):
        await world.create("replicasets", replica_set(replicas=100))
        await world.sleep(20)
        status = (await world.get("replicasets", "web"))["status"]
        tries = sum(method == "POST" and path.endswith("/pods") for method, path in world.transport.log)
        events = await world.list("events")
        world.refusing = False
        await world.sleep(20)
        await ready(world, 100)
        return status, tries, events, (await world.get("replicasets", "web"))["status"]

    status, tries, events, after = tell(story, ONLY, faults=faults)
    (condition,) = status["conditions"]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    assert "exceeded quota" in condition["message"]
    assert tries < 20
    assert events[0]["reason"] == "FailedCreate"
    assert events[0]["message"] == 'Error creating: pods "web-" is forbidden: exceeded quota'
    assert "conditions" not in after


@pytest.mark.parametrize("seed", range(5))
def test_no_pod_too_many_however_often_it_is_scaled(tell, seed):
    async def story(world):
        rng = random.Random(seed)
        await world.create("replicasets", replica_set(replicas=5))
        most = 0
        for _ in range(10):
            await world.sleep(rng.random() * 2)
            await world.patch("replicasets", "web", {"spec": {"replicas": rng.randint(0, 12)}})
            most = max(most, len(await world.list("pods")))
        await world.patch("replicasets", "web", {"spec": {"replicas": 6}})
        await world.sleep(10)
        await ready(world, 6)
        return most, len(await world.list("pods"))

    most, count = tell(story, ONLY)
    assert most <= 12
    assert count == 6
