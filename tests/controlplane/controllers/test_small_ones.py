"""Controllers of one rule each."""

ROLES = "clusterrole-aggregation-controller"


def rule(verb):
    return {"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}


def test_an_aggregated_role_has_the_rules_of_those_it_selects(tell):
    async def story(world):
        selector = {"matchLabels": {"aggregate": "yes"}}
        whole = {"metadata": {"name": "whole"}, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []}
        await world.create("clusterroles", whole, "")
        for name, verb in (("b", "list"), ("a", "get"), ("c", "get")):
            await world.create(
                "clusterroles", {"metadata": {"name": name, "labels": {"aggregate": "yes"}}, "rules": [rule(verb)]}, ""
            )
        await world.sleep(2)
        full = (await world.get("clusterroles", "whole", ""))["rules"]
        await world.delete("clusterroles", "b", "")
        await world.sleep(2)
        return full, (await world.get("clusterroles", "whole", ""))["rules"]

    assert tell(story, ROLES) == ([rule("get"), rule("list")], [rule("get")])


def test_an_ephemeral_volume_has_a_claim_that_goes_with_the_pod(tell):
    async def story(world):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        volume = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [volume]}}
        await world.create("pods", pod)
        await world.sleep(2)
        made = await world.get("persistentvolumeclaims", "p-scratch")
        await world.delete("pods", "p")
        await world.sleep(10)
        return made, await world.find("persistentvolumeclaims", "p-scratch")

    names = "ephemeral-volume-controller,garbage-collector-controller,persistentvolumeclaim-protection-controller"
    made, after = tell(story, names)
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Pod"
    assert after is None
