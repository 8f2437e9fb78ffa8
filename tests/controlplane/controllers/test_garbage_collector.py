import random

import pytest

ONLY = "garbage-collector-controller"
SETTLE = 5  # Seconds; nothing in these stories takes longer.


def owned_by(*owners, name="child", block=False, finalizers=()):
    references = [
        {
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]  # fmt: skip
    return {"metadata": {"name": name, "ownerReferences": references, "finalizers": list(finalizers)}}


async def names(world, plural="configmaps"):
    return sorted(each["metadata"]["name"] for each in await world.list(plural))


def test_dependents_of_a_deleted_owner_are_deleted_down_to_the_last(tell):
    async def story(world):
        owner = await world.create("configmaps", {"metadata": {"name": "owner"}})
        child = await world.create("configmaps", owned_by(owner))
        await world.create("configmaps", owned_by(child, name="grandchild"))
        await world.create("configmaps", {"metadata": {"name": "bystander"}})
        await world.sleep(SETTLE)
        before = await names(world)
        await world.delete("configmaps", "owner", propagationPolicy="Background")
        await world.sleep(SETTLE)
        return before, await names(world)

    assert tell(story, ONLY) == (["bystander", "child", "grandchild", "owner"], ["bystander"])


def test_an_object_lives_as_long_as_one_owner_does(tell):
    async def story(world):
        one = await world.create("configmaps", {"metadata": {"name": "one"}})
        two = await world.create("configmaps", {"metadata": {"name": "two"}})
        await world.create("configmaps", owned_by(one, two))
        await world.delete("configmaps", "one")
        await world.sleep(SETTLE)
        child = await world.get("configmaps", "child")
        await world.delete("configmaps", "two")
        await world.sleep(SETTLE)
        return [each["name"] for each in child["metadata"]["ownerReferences"]], await names(world)

    assert tell(story, ONLY) == (["two"], [])


def test_an_owner_that_never_was_is_no_owner(tell):
    async def story(world):
        ghost = {"metadata": {"name": "ghost", "uid": "11111111-2222-3333-4444-555555555555"}}
        await world.create("configmaps", owned_by(ghost))
        await world.sleep(SETTLE)
        return await names(world)

    assert tell(story, ONLY) == []


def test_a_uid_that_is_not_the_owners_is_no_owner(tell):
    async def story(world):
        await world.create("configmaps", {"metadata": {"name": "owner"}})
        impostor = {"metadata": {"name": "owner", "uid": "11111111-2222-3333-4444-555555555555"}}
        await world.create("configmaps", owned_by(impostor))
        await world.sleep(SETTLE)
        return await names(world)

    assert tell(story, ONLY) == ["owner"]


def test_an_owner_in_another_namespace_is_no_owner(tell):
    async def story(world):
        owner = await world.create("configmaps", {"metadata": {"name": "owner"}}, "kube-system")
        await world.create("configmaps", owned_by(owner))
        await world.sleep(SETTLE)
        return await names(world)

    assert tell(story, ONLY) == []


def test_orphans_stay_without_their_reference(tell):
    async def story(world):
        owner = await world.create("configmaps", {"metadata": {"name": "owner"}})
        await world.create("configmaps", owned_by(owner))
        await world.sleep(SETTLE)
        await world.delete("configmaps", "owner", propagationPolicy="Orphan")
        await world.sleep(SETTLE)
        child = await world.get("configmaps", "child")
        return child["metadata"].get("ownerReferences"), await names(world)

    assert tell(story, ONLY) == (None, ["child"])


def test_a_foreground_deletion_waits_for_what_blocks_it(tell):
    async def story(world):
        owner = await world.create("configmaps", {"metadata": {"name": "owner"}})
        await world.create("configmaps", owned_by(owner, block=True, finalizers=["example.com/wait"]))
        await world.create("configmaps", owned_by(owner, name="other"))
        await world.sleep(SETTLE)
        await world.delete("configmaps", "owner", propagationPolicy="Foreground")
        await world.sleep(SETTLE)
        waiting = await names(world), (await world.get("configmaps", "child"))["metadata"].get("deletionTimestamp")
        await world.patch("configmaps", "child", {"metadata": {"finalizers": None}})
        await world.sleep(SETTLE)
        return waiting, await names(world)

    (present, deleted), left = tell(story, ONLY)
    assert present == ["child", "owner"]
    assert deleted
    assert left == []


def test_a_foreground_deletion_goes_down_the_whole_chain_first(tell):
    async def story(world):
        owner = await world.create("configmaps", {"metadata": {"name": "owner"}})
        child = await world.create("configmaps", owned_by(owner, block=True))
        grandchild = owned_by(child, name="grandchild", block=True, finalizers=["example.com/wait"])
        await world.create("configmaps", grandchild)
        await world.sleep(SETTLE)
        await world.delete("configmaps", "owner", propagationPolicy="Foreground")
        await world.sleep(SETTLE)
        waiting = await names(world)
        await world.patch("configmaps", "grandchild", {"metadata": {"finalizers": None}})
        await world.sleep(SETTLE)
        return waiting, await names(world)

    assert tell(story, ONLY) == (["child", "grandchild", "owner"], [])


def test_a_circle_of_foreground_deletions_ends(tell):
    async def story(world):
        one = await world.create("configmaps", {"metadata": {"name": "one"}})
        two = await world.create("configmaps", owned_by(one, name="two", block=True))
        back = owned_by(two, name="one", block=True)["metadata"]["ownerReferences"]
        await world.patch("configmaps", "one", {"metadata": {"ownerReferences": back}})
        await world.sleep(SETTLE)
        await world.delete("configmaps", "one", propagationPolicy="Foreground")
        await world.sleep(SETTLE)
        return await names(world)

    assert tell(story, ONLY) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_forest_falls_with_its_roots(tell, seed):
    async def story(world):
        rng = random.Random(seed)
        made = [await world.create("configmaps", {"metadata": {"name": f"root{number}"}}) for number in range(3)]
        parents = {}
        for number in range(60):
            chosen = rng.sample(made, rng.randint(1, 2))
            child = await world.create("configmaps", owned_by(*chosen, name=f"c{number}"))
            parents[f"c{number}"] = [each["metadata"]["name"] for each in chosen]
            made.append(child)
        await world.delete("configmaps", "root0")
        await world.delete("configmaps", "root1")
        alive = {"root2"}
        for name, above in parents.items():  # In order of creation: parents come first.
            if alive & set(above):
                alive.add(name)
        await world.sleep(30)
        return await names(world), sorted(alive)

    left, expected = tell(story, ONLY)
    assert left == expected


def test_a_deployments_pods_go_with_it(tell):
    async def story(world):
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"replicas": 5, "selector": {"matchLabels": labels}, "template": template}
        await world.create("deployments", {"metadata": {"name": "web"}, "spec": spec})

        async def up():
            return (await world.get("deployments", "web"))["status"].get("availableReplicas") == 5

        await world.until(up)
        await world.delete("deployments", "web", propagationPolicy="Foreground")
        await world.sleep(20)
        return [await names(world, plural) for plural in ("deployments", "replicasets", "pods")]

    assert tell(story, "garbage-collector-controller,deployment-controller,replicaset-controller") == [[], [], []]
