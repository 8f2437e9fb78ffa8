"""Controllers of one rule each."""

from kobune.controlplane.controllers.controller import Settings

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


def test_endpoints_written_by_hand_are_mirrored_and_followed(tell):
    async def story(world):
        await world.create("services", {"metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432}]}})
        subset = {"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], "ports": [{"port": 5432}]}
        await world.create("endpoints", {"metadata": {"name": "db"}, "subsets": [subset]})
        await world.sleep(2)
        made = await world.list("endpointslices")
        subset["addresses"] = [{"ip": "192.0.2.3"}]
        await world.patch("endpoints", "db", {"subsets": [subset]})
        await world.sleep(2)
        changed = await world.list("endpointslices")
        await world.delete("endpoints", "db")
        await world.sleep(2)
        return made, changed, await world.list("endpointslices")

    (made,), (changed,), after = tell(story, "endpointslice-mirroring-controller")
    assert (
        made["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
        == "endpointslicemirroring-controller.k8s.io"
    )
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == "db"
    assert [each["addresses"] for each in made["endpoints"]] == [["192.0.2.1"], ["192.0.2.2"]]
    assert made["ports"][0]["port"] == 5432
    assert changed["metadata"]["name"] == made["metadata"]["name"]
    assert [each["addresses"] for each in changed["endpoints"]] == [["192.0.2.3"]]
    assert after == []


def test_load_balancers_get_addresses_of_the_range_and_give_them_back(tell):
    async def service(world, name, kind="LoadBalancer"):
        ports = [{"port": 80}]
        await world.create(
            "services", {"metadata": {"name": name}, "spec": {"type": kind, "ports": ports, "selector": {"a": "b"}}}
        )
        await world.sleep(2)
        found = await world.get("services", name)
        return [each["ip"] for each in found["status"]["loadBalancer"].get("ingress", ())]

    async def story(world):
        first = [await service(world, name) for name in ("a", "b")]
        none = await service(world, "c", "ClusterIP")
        await world.delete("services", "a")
        await world.sleep(2)
        gone = await world.find("services", "a")
        return first, none, gone, await service(world, "d")

    settings = Settings(load_balancer_range="192.0.2.0/29")
    first, none, gone, again = tell(story, "service-lb-controller", settings=settings)
    assert first == [["192.0.2.1"], ["192.0.2.2"]]
    assert none == []
    assert gone is None
    assert again == ["192.0.2.1"]
