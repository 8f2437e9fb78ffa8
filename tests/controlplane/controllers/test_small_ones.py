"""Controllers of one rule each."""

from kobune.api.features import GENERIC_WORKLOAD
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.controllers.ttl import next_step

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


def test_a_service_range_is_ready_and_goes_only_without_addresses_of_its_own(tell):
    async def story(world):
        await world.create("servicecidrs", {"metadata": {"name": "extra"}, "spec": {"cidrs": ["192.0.2.0/24"]}}, "")
        address = {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}
        await world.create("ipaddresses", {"metadata": {"name": "192.0.2.7"}, "spec": address}, "")
        await world.sleep(2)
        ready = await world.get("servicecidrs", "extra", "")
        await world.delete("servicecidrs", "extra", "")
        await world.sleep(30)
        held = await world.get("servicecidrs", "extra", "")
        await world.delete("ipaddresses", "192.0.2.7", "")
        await world.sleep(30)
        return ready, held, await world.find("servicecidrs", "extra", "")

    ready, held, gone = tell(story, "service-cidr-controller")
    assert ready["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    (condition,) = ready["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
    (condition,) = held["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Terminating")
    assert gone is None


def test_an_attributes_class_in_use_stays(tell):
    async def story(world):
        await world.create(
            "volumeattributesclasses", {"metadata": {"name": "fast"}, "driverName": "d", "parameters": {"a": "b"}}, ""
        )
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await world.create(
            "persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": {**spec, "volumeAttributesClassName": "fast"}}
        )
        await world.sleep(2)
        await world.delete("volumeattributesclasses", "fast", "")
        await world.sleep(2)
        held = await world.find("volumeattributesclasses", "fast", "")
        await world.patch("persistentvolumeclaims", "c", {"metadata": {"finalizers": None}})
        await world.delete("persistentvolumeclaims", "c")
        await world.sleep(2)
        return held is not None, await world.find("volumeattributesclasses", "fast", "")

    assert tell(story, "volumeattributesclass-protection-controller") == (True, None)


def test_a_group_is_deleted_once_its_last_pod_has_come_to_an_end(tell):
    async def story(world):
        await world.create("podgroups", {"metadata": {"name": "train"}, "spec": {"schedulingPolicy": {"basic": {}}}})
        spec = {"containers": [{"name": "c", "image": "app"}], "schedulingGroup": {"podGroupName": "train"}}
        for name in ("one", "two"):
            await world.create("pods", {"metadata": {"name": name}, "spec": spec})
        await world.sleep(1)
        await world.delete("podgroups", "train")
        await world.delete("pods", "one")
        await world.sleep(1)
        held = await world.find("podgroups", "train")
        await world.patch("pods", "two", {"status": {"phase": "Succeeded"}}, subresource="status")
        await world.sleep(1)
        return held is not None, await world.find("podgroups", "train")

    told = tell(story, "podgroup-protection-controller", nodes=False, features=frozenset({GENERIC_WORKLOAD}))
    assert told == (True, None)


def test_kubelets_of_larger_clusters_may_keep_what_they_read_for_longer():
    assert [next_step(0, count) for count in (1, 100, 101, 501, 5000)] == [0, 0, 1, 2, 4]
    assert next_step(1, 95) == 1  # Steps overlap.
    assert next_step(1, 89) == 0


def test_nodes_are_told_how_long_to_keep_what_they_read(tell):
    async def story(world):
        await world.create("nodes", {"metadata": {"name": "n"}}, "")
        await world.sleep(1)
        return (await world.get("nodes", "n", ""))["metadata"]["annotations"]

    assert tell(story, "ttl-controller")["node.alpha.kubernetes.io/ttl"] == "0"


def test_a_step_that_a_cluster_takes_is_told_to_each_node_when_it_next_changes(tell):
    name = "node.alpha.kubernetes.io/ttl"

    async def story(world):
        for number in range(101):
            await world.create("nodes", {"metadata": {"name": f"n{number}"}}, "")
        await world.sleep(1)
        before = [(await world.get("nodes", each, ""))["metadata"]["annotations"][name] for each in ("n0", "n100")]
        await world.patch("nodes", "n0", {"status": {"phase": "Running"}}, "", subresource="status")
        await world.sleep(1)
        return before, (await world.get("nodes", "n0", ""))["metadata"]["annotations"][name]

    assert tell(story, "ttl-controller", nodes=False) == (["0", "15"], "15")
