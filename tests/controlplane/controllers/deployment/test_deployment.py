import pytest

ONLY = "deployment-controller,replicaset-controller"


def deployment(name="web", replicas=3, image="one", **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


def image(name):
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


async def rolled_out(world, replicas, name="web", seconds=120):
    """As `kubectl rollout status` judges."""

    async def check():
        found = await world.get("deployments", name)
        status = found["status"]
        return status.get("observedGeneration") == found["metadata"]["generation"] and all(
            status.get(count, 0) == replicas for count in ("replicas", "updatedReplicas", "availableReplicas")
        )

    await world.until(check, seconds)


async def sets_of(world):
    """ReplicaSets by image."""
    found = await world.list("replicasets")
    return {each["spec"]["template"]["spec"]["containers"][0]["image"]: each for each in found}


def condition(status, kind):
    return next(each for each in status["conditions"] if each["type"] == kind)


def test_a_deployment_becomes_available(tell):
    async def story(world):
        await world.create("deployments", deployment())
        await rolled_out(world, 3)
        events = await world.list("events")
        return await world.get("deployments", "web"), await sets_of(world), events

    found, sets, events = tell(story, ONLY)
    status = found["status"]
    mark = sets["one"]["metadata"]["labels"]["pod-template-hash"]
    assert sets["one"]["metadata"]["name"] == f"web-{mark}"
    assert sets["one"]["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": mark}
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert {name: status[name] for name in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")} == {
        "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "updatedReplicas": 3,
    }  # fmt: skip
    assert "unavailableReplicas" not in status
    available, progressing = condition(status, "Available"), condition(status, "Progressing")
    assert (available["status"], available["reason"]) == ("True", "MinimumReplicasAvailable")
    assert available["message"] == "Deployment has minimum availability."
    assert (progressing["status"], progressing["reason"]) == ("True", "NewReplicaSetAvailable")
    assert progressing["message"] == f'ReplicaSet "web-{mark}" has successfully progressed.'
    scaled = [event["message"] for event in events if event["reason"] == "ScalingReplicaSet"]
    assert scaled == [f"Scaled up replica set web-{mark} from 0 to 3"]


@pytest.mark.parametrize(("surge", "unavailable"), [("25%", "25%"), (1, 0), (0, 1), ("100%", "100%"), (0, "50%")])
def test_a_rolling_update_keeps_within_its_bounds(tell, surge, unavailable):
    replicas = 10
    share = lambda amount: int(amount[:-1]) * replicas / 100 if isinstance(amount, str) else amount  # noqa: E731

    async def story(world):
        rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
        strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
        await world.create("deployments", deployment(replicas=replicas, strategy=strategy))
        await rolled_out(world, replicas)
        await world.patch("deployments", "web", image("two"))
        most, least = 0, replicas

        async def check():
            nonlocal most, least
            pods = [pod for pod in await world.list("pods") if "deletionTimestamp" not in pod["metadata"]]
            up = [pod for pod in pods if pod["status"].get("conditions")]
            most, least = max(most, len(pods)), min(least, len(up))
            found = await world.get("deployments", "web")
            status = found["status"]
            counts = (status.get("updatedReplicas"), status["replicas"], status.get("availableReplicas"))
            return counts == (replicas,) * 3 and status["observedGeneration"] == found["metadata"]["generation"]

        await world.until(check, 120)
        return most, least, await sets_of(world)

    most, least, sets = tell(story, ONLY)
    assert most <= replicas + -(-share(surge) // 1)
    assert least >= replicas - share(unavailable) // 1
    assert (sets["one"]["spec"]["replicas"], sets["two"]["spec"]["replicas"]) == (0, replicas)
    revision = "deployment.kubernetes.io/revision"
    assert [sets[name]["metadata"]["annotations"][revision] for name in ("one", "two")] == ["1", "2"]


def test_rolling_back_reuses_the_old_replica_set_and_keeps_its_history(tell):
    async def story(world):
        await world.create("deployments", deployment())
        await rolled_out(world, 3)
        await world.patch("deployments", "web", image("two"))
        await rolled_out(world, 3)
        await world.patch("deployments", "web", image("one"))
        await rolled_out(world, 3)
        return await sets_of(world), await world.get("deployments", "web")

    sets, found = tell(story, ONLY)
    annotations = sets["one"]["metadata"]["annotations"]
    assert len(sets) == 2
    assert annotations["deployment.kubernetes.io/revision"] == "3"
    assert annotations["deployment.kubernetes.io/revision-history"] == "1"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_recreate_never_runs_two_revisions_at_once(tell):
    async def story(world):
        await world.create("deployments", deployment(strategy={"type": "Recreate"}))
        await rolled_out(world, 3)
        await world.patch("deployments", "web", image("two"))
        mixed = False

        async def check():
            nonlocal mixed
            images = {pod["spec"]["containers"][0]["image"] for pod in await world.list("pods")}
            mixed = mixed or len(images) > 1
            status = (await world.get("deployments", "web"))["status"]
            return images == {"two"} and status.get("availableReplicas") == status.get("updatedReplicas") == 3

        await world.until(check)
        return mixed

    assert tell(story, ONLY) is False


def test_old_revisions_beyond_the_limit_are_removed(tell):
    async def story(world):
        await world.create("deployments", deployment(revisionHistoryLimit=2))
        for name in ("two", "three", "four", "five"):
            await rolled_out(world, 3)
            await world.patch("deployments", "web", image(name))
        await rolled_out(world, 3)
        await world.sleep(5)
        return sorted(await sets_of(world))

    assert tell(story, ONLY) == ["five", "four", "three"]


def test_a_paused_deployment_only_scales(tell):
    async def story(world):
        await world.create("deployments", deployment())
        await rolled_out(world, 3)
        await world.patch("deployments", "web", {"spec": {"paused": True}})
        await world.patch("deployments", "web", image("two"))
        await world.patch("deployments", "web", {"spec": {"replicas": 5}})
        await world.sleep(10)
        paused = (await world.get("deployments", "web"))["status"], await sets_of(world)
        await world.patch("deployments", "web", {"spec": {"paused": False}})
        await rolled_out(world, 5)
        return paused, await sets_of(world)

    (status, sets), after = tell(story, ONLY)
    progressing = condition(status, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("Unknown", "DeploymentPaused")
    assert {name: each["spec"]["replicas"] for name, each in sets.items()} == {"one": 5}
    assert {name: each["spec"]["replicas"] for name, each in after.items()} == {"one": 0, "two": 5}


def test_a_rollout_without_progress_misses_its_deadline(tell):
    async def story(world):
        world.ready_after = None
        await world.create("deployments", deployment(progressDeadlineSeconds=60))
        await world.sleep(58)
        before = condition((await world.get("deployments", "web"))["status"], "Progressing")
        await world.sleep(10)
        return before, (await world.get("deployments", "web"))["status"]

    before, status = tell(story, ONLY)
    assert before["status"] == "True"
    progressing, available = condition(status, "Progressing"), condition(status, "Available")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert progressing["message"].endswith("has timed out progressing.")
    assert (available["status"], available["reason"]) == ("False", "MinimumReplicasUnavailable")
    assert status["unavailableReplicas"] == 3


def test_scaling_in_the_midst_of_a_rollout_is_proportional(tell):
    async def story(world):
        rolling = {"maxSurge": 2, "maxUnavailable": 2}
        await world.create("deployments", deployment(replicas=10, strategy={"rollingUpdate": rolling}))
        await rolled_out(world, 10)
        world.ready_after = None
        await world.patch("deployments", "web", image("two"))
        await world.sleep(10)
        stuck = {name: each["spec"]["replicas"] for name, each in (await sets_of(world)).items()}
        await world.patch("deployments", "web", {"spec": {"replicas": 20}})
        await world.sleep(10)
        return stuck, {name: each["spec"]["replicas"] for name, each in (await sets_of(world)).items()}

    stuck, scaled = tell(story, ONLY)
    assert stuck == {"one": 8, "two": 4}
    # 22 pods are allowed where 12 were: 8 becomes 15, and 4 becomes 7.
    assert scaled == {"one": 15, "two": 7}


def test_a_rollout_costs_few_requests(tell):
    async def story(world):
        await world.create("deployments", deployment(replicas=10))
        await rolled_out(world, 10)
        await world.sleep(5)
        log = [(method, path) for method, path in world.transport.log if not path.endswith("/events")]
        writes = [entry for entry in log if entry[0] != "GET"]
        await world.sleep(3600)
        idle = len(world.transport.log)
        return writes, idle - len(world.transport.log)

    writes, idle = tell(story, ONLY)
    pods = [entry for entry in writes if entry[1].endswith("/pods")]
    assert len(pods) == 10
    assert len(writes) - len(pods) <= 14
    assert idle == 0
