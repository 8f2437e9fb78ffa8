import pytest

ONLY = "statefulset-controller"


def stateful_set(name="db", replicas=3, image="one", claims=(), **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    templates = [
        {
            "metadata": {"name": each},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        for each in claims
    ]
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "template": template, "serviceName": name,
            "volumeClaimTemplates": templates, **spec,
        },
    }  # fmt: skip


def image(name):
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


async def images(world):
    return {
        pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"]
        for pod in await world.list("pods")
        if "deletionTimestamp" not in pod["metadata"]
    }


async def settled(world, replicas, name="db"):
    async def check():
        found = await world.get("statefulsets", name)
        status = found["status"]
        counts = [status.get(count, 0) for count in ("replicas", "readyReplicas", "availableReplicas")]
        return counts == [replicas] * 3 and status.get("observedGeneration") == found["metadata"]["generation"]

    await world.until(check, 120)


def test_pods_come_one_after_the_other_with_names_hosts_and_claims_of_their_own(tell):
    async def story(world):
        world.ready_after = 5.0
        await world.create("statefulsets", stateful_set(claims=("data",)))
        await world.sleep(7)
        early = sorted(await images(world))
        await settled(world, 3)
        return (
            early,
            await world.list("pods"),
            await world.list("persistentvolumeclaims"),
            await world.get("statefulsets", "db"),
        )

    early, pods, claims, found = tell(story, ONLY)
    assert early == ["db-0", "db-1"]
    assert [pod["metadata"]["name"] for pod in pods] == ["db-0", "db-1", "db-2"]
    pod = pods[1]
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
    assert pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-1"
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}} in pod["spec"]["volumes"]
    assert [each["metadata"]["name"] for each in claims] == ["data-db-0", "data-db-1", "data-db-2"]
    assert claims[0]["metadata"]["labels"] == {"app": "db"}
    status = found["status"]
    assert (
        status["currentRevision"] == status["updateRevision"] == pod["metadata"]["labels"]["controller-revision-hash"]
    )


def test_parallel_sets_start_all_at_once(tell):
    async def story(world):
        world.ready_after = None
        await world.create("statefulsets", stateful_set(podManagementPolicy="Parallel"))
        await world.sleep(2)
        return sorted(await images(world))

    assert tell(story, ONLY) == ["db-0", "db-1", "db-2"]


def test_a_scale_down_removes_the_highest_first_and_keeps_the_claims(tell):
    async def story(world):
        await world.create("statefulsets", stateful_set(claims=("data",)))
        await settled(world, 3)
        await world.patch("statefulsets", "db", {"spec": {"replicas": 1}})
        await settled(world, 1)
        return sorted(await images(world)), len(await world.list("persistentvolumeclaims"))

    assert tell(story, ONLY) == (["db-0"], 3)


def test_an_update_goes_from_the_highest_to_the_lowest_one_at_a_time(tell):
    async def story(world):
        await world.create("statefulsets", stateful_set())
        await settled(world, 3)
        await world.patch("statefulsets", "db", image("two"))
        seen = []

        async def check():
            now = await images(world)
            if not seen or seen[-1] != now:
                seen.append(now)
            return now == dict.fromkeys(("db-0", "db-1", "db-2"), "two")

        await world.until(check)
        await settled(world, 3)
        return seen, await world.get("statefulsets", "db"), await world.list("controllerrevisions")

    seen, found, revisions = tell(story, ONLY)
    assert all(len(each) >= 2 for each in seen)
    updated = [[name for name, image in each.items() if image == "two"] for each in seen]
    assert all(set(each) <= {"db-0", "db-1", "db-2"} for each in updated)
    assert ["db-2"] in updated
    assert ["db-1", "db-2"] in updated
    assert found["status"]["currentRevision"] == found["status"]["updateRevision"]
    assert [each["revision"] for each in revisions] in ([1, 2], [2, 1])


def test_below_the_partition_the_old_revision_stays_even_for_new_pods(tell):
    async def story(world):
        await world.create("statefulsets", stateful_set())
        await settled(world, 3)
        await world.patch("statefulsets", "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}})
        await world.patch("statefulsets", "db", image("two"))
        await world.sleep(20)
        await world.delete("pods", "db-0")
        await world.sleep(20)
        return await images(world)

    assert tell(story, ONLY) == {"db-0": "one", "db-1": "one", "db-2": "two"}


def test_on_delete_updates_what_is_deleted(tell):
    async def story(world):
        await world.create("statefulsets", stateful_set(updateStrategy={"type": "OnDelete"}))
        await settled(world, 3)
        await world.patch("statefulsets", "db", image("two"))
        await world.sleep(20)
        await world.delete("pods", "db-1")
        await world.sleep(20)
        return await images(world)

    assert tell(story, ONLY) == {"db-0": "one", "db-1": "two", "db-2": "one"}


def test_a_rolled_back_template_brings_its_revision_to_the_front(tell):
    async def story(world):
        await world.create("statefulsets", stateful_set())
        await settled(world, 3)
        for name in ("two", "one"):
            await world.patch("statefulsets", "db", image(name))
            await world.sleep(30)
            await settled(world, 3)
        return sorted(each["revision"] for each in await world.list("controllerrevisions")), await images(world)

    assert tell(story, ONLY) == ([2, 3], dict.fromkeys(("db-0", "db-1", "db-2"), "one"))


def test_a_failed_pod_is_made_anew_under_its_name(tell):
    async def story(world):
        await world.create("statefulsets", stateful_set())
        await settled(world, 3)
        before = await world.get("pods", "db-1")
        await world.patch("pods", "db-1", {"status": {"phase": "Failed"}}, subresource="status")
        await world.sleep(10)
        await settled(world, 3)
        return before["metadata"]["uid"], (await world.get("pods", "db-1"))["metadata"]["uid"]

    before, after = tell(story, ONLY)
    assert before != after


def test_ordinals_may_start_elsewhere(tell):
    async def story(world):
        await world.create("statefulsets", stateful_set(replicas=2, ordinals={"start": 5}))
        await settled(world, 2)
        return sorted(await images(world))

    assert tell(story, ONLY) == ["db-5", "db-6"]


@pytest.mark.parametrize(
    ("policy", "scaled", "deleted"),
    [
        pytest.param({"whenScaled": "Delete", "whenDeleted": "Retain"}, ["data-db-0"], ["data-db-0"], id="when-scaled"),
        pytest.param(
            {"whenScaled": "Retain", "whenDeleted": "Delete"}, ["data-db-0", "data-db-1"], [], id="when-deleted"
        ),
        pytest.param({"whenScaled": "Delete", "whenDeleted": "Delete"}, ["data-db-0"], [], id="both"),
    ],
)
def test_claims_go_as_the_retention_policy_says(tell, policy, scaled, deleted):
    async def names(world):
        return [each["metadata"]["name"] for each in await world.list("persistentvolumeclaims")]

    async def story(world):
        spec = stateful_set(replicas=2, claims=("data",), persistentVolumeClaimRetentionPolicy=policy)
        await world.create("statefulsets", spec)
        await settled(world, 2)
        await world.patch("statefulsets", "db", {"spec": {"replicas": 1}})
        await world.sleep(20)
        after_scale = await names(world)
        await world.delete("statefulsets", "db")
        await world.sleep(20)
        return after_scale, await names(world)

    with_protection = f"{ONLY},garbage-collector-controller,persistentvolumeclaim-protection-controller"
    assert tell(story, with_protection) == (scaled, deleted)
