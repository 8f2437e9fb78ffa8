from datetime import UTC, datetime

from kobune.api.errors import ServiceUnavailable
from kobune.api.objects.core import PodIP, PodStatus, Service, ServicePort, ServiceSpec
from kobune.api.objects.lean import LeanPodSpec, Pod
from kobune.api.objects.meta import Condition, ObjectMeta
from kobune.controlplane.controllers.endpoint_slice import plan, wanted_endpoints
from kobune.controlplane.controllers.endpoints import plan_subsets, truncated
from kobune.controlplane.controllers.slices import EndpointSlice, SlicePort

ONLY = "endpointslice-controller,endpoints-controller"


def service(**spec):
    spec.setdefault("ports", [ServicePort(port=80, target_port=8080)])
    return Service(metadata=ObjectMeta(name="web", namespace="d"), spec=ServiceSpec(cluster_ip="10.0.0.9", **spec))


def pod(number, ready=True, node=""):
    verdict = Condition(type="Ready", status="True" if ready else "False")
    address = f"10.1.{number // 250}.{number % 250 + 1}"
    status = PodStatus(phase="Running", conditions=[verdict], pod_ip=address, pod_ips=[PodIP(ip=address)])
    meta = ObjectMeta(name=f"p{number}", namespace="d", uid=f"u{number:04}")
    return Pod(metadata=meta, spec=LeanPodSpec(node_name=node), status=status)


def planned(service, pods, slices, nodes):
    return plan(wanted_endpoints(service, pods, nodes), slices)


def applied(slices, change):
    """The slices after a change, as the API would keep them."""
    after = {each.name: each for each in slices}
    for each in change.delete:
        del after[each.name]
    for each, endpoints in change.update:
        after[each.name] = _slice(each.name, each.address_type, each.ports, endpoints)
    for group, endpoints in change.create:
        name = f"s{len(after)}-{len(endpoints)}"
        after[name] = _slice(name, group.address_type, list(group.ports), endpoints)
    return list(after.values())


def _slice(name, family, ports, endpoints):
    return EndpointSlice(metadata=ObjectMeta(name=name), address_type=family, ports=ports, endpoints=endpoints)


def sizes(slices):
    return sorted(len(each.endpoints) for each in slices)


def test_endpoints_are_spread_over_slices_of_at_most_100():
    slices = applied([], planned(service(), [pod(number) for number in range(250)], [], {}))
    assert sizes(slices) == [50, 100, 100]
    assert slices[0].ports == [SlicePort(name="", protocol="TCP", port=8080)]


def test_a_second_pass_plans_nothing():
    pods = [pod(number, ready=number % 3 > 0) for number in range(250)]
    slices = applied([], planned(service(), pods, [], {}))
    assert planned(service(), pods, slices, {}) == ([], [], [])


def test_one_pod_more_changes_one_slice():
    slices = applied([], planned(service(), [pod(number) for number in range(250)], [], {}))
    change = planned(service(), [pod(number) for number in range(251)], slices, {})
    assert (len(change.create), len(change.update), len(change.delete)) == (0, 1, 0)
    assert sizes(applied(slices, change)) == [51, 100, 100]


def test_one_pod_less_changes_one_slice_and_the_last_leaves_a_blank_one():
    slices = applied([], planned(service(), [pod(1), pod(2)], [], {}))
    slices = applied(slices, planned(service(), [pod(2)], slices, {}))
    assert sizes(slices) == [1]
    slices = applied(slices, planned(service(), [], slices, {}))
    assert sizes(slices) == [0]
    assert planned(service(), [], slices, {}) == ([], [], [])


def test_what_is_terminating_serves_but_is_not_ready():
    leaving = pod(1)
    leaving.metadata.deletion_timestamp = datetime(2026, 1, 5, tzinfo=UTC)
    ((_, (endpoint,)),) = planned(service(), [leaving], [], {}).create
    verdict = endpoint.conditions
    assert (verdict.ready, verdict.serving, verdict.terminating) == (False, True, True)
    assert plan_subsets(service(), [leaving]) == []


def test_not_ready_addresses_are_apart_unless_they_are_to_be_published():
    (subset,) = plan_subsets(service(), [pod(1), pod(2, ready=False)])
    assert [each["ip"] for each in subset["addresses"]] == ["10.1.0.2"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.1.0.3"]
    (subset,) = plan_subsets(service(publish_not_ready_addresses=True), [pod(1), pod(2, ready=False)])
    assert len(subset["addresses"]) == 2


def test_endpoints_hold_1000_addresses_ready_ones_first():
    subsets, over = truncated(plan_subsets(service(), [pod(number, ready=number >= 300) for number in range(1200)]))
    assert over
    assert [(len(each["addresses"]), len(each["notReadyAddresses"])) for each in subsets] == [(900, 100)]


def test_a_service_finds_its_pods_and_follows_them(tell):
    async def story(world):
        ports = [{"name": "http", "port": 80, "targetPort": "web"}]
        await world.create(
            "services", {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
        )
        for number in range(3):
            container = {"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": 8080 + number // 2}]}
            labels = {"app": "web", "number": str(number)}
            await world.create(
                "pods", {"metadata": {"name": f"p{number}", "labels": labels}, "spec": {"containers": [container]}}
            )
        await world.sleep(5)
        full = await world.list("endpointslices"), await world.get("endpoints", "web")
        await world.set_ready("p0", ready=False, address="10.244.0.1")
        await world.delete("pods", "p1")
        await world.delete("pods", "p2")
        await world.sleep(5)
        less = await world.list("endpointslices"), await world.get("endpoints", "web")
        writes = len(world.transport.log)
        await world.patch("pods", "p0", {"metadata": {"annotations": {"irrelevant": "change"}}})
        await world.sleep(5)
        assert len(world.transport.log) == writes
        await world.delete("services", "web")
        await world.sleep(5)
        return full, less, await world.find("endpoints", "web")

    (slices, endpoints), (fewer, after), gone = tell(story, ONLY)
    assert sorted((each["ports"][0]["port"], len(each["endpoints"])) for each in slices) == [(8080, 2), (8081, 1)]
    labels = slices[0]["metadata"]["labels"]
    assert labels["kubernetes.io/service-name"] == "web"
    assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert slices[0]["metadata"]["ownerReferences"][0]["kind"] == "Service"
    endpoint = slices[0]["endpoints"][0]
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert endpoint["targetRef"]["kind"] == "Pod"
    assert sorted(subset["ports"][0]["port"] for subset in endpoints["subsets"]) == [8080, 8081]
    assert [each["conditions"]["ready"] for item in fewer for each in item["endpoints"]] == [False]
    assert [len(subset["notReadyAddresses"]) for subset in after["subsets"]] == [1]
    assert gone is None


def test_dual_stack_services_have_slices_of_each_family():
    both = service(ip_families=["IPv4", "IPv6"])
    one = pod(1)
    one.status.pod_ips.append(PodIP(ip="fd00::1"))
    slices = applied([], planned(both, [one, pod(2)], [], {}))
    addresses = {each.address_type: [found.addresses for found in each.endpoints] for each in slices}
    assert addresses == {"IPv4": [["10.1.0.2"], ["10.1.0.3"]], "IPv6": [["fd00::1"]]}


def test_endpoints_that_cannot_be_written_are_told_of(tell):
    def faults(world):
        return lambda method, path: (
            ServiceUnavailable("busy") if method != "GET" and "/endpoints" in path and world.is_busy else None
        )

    async def story(world):
        world.is_busy = True
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await world.create("services", {"metadata": {"name": "web"}, "spec": spec})
        await world.sleep(2)
        world.is_busy = False
        await world.until(lambda: world.find("endpoints", "web"))
        world.is_busy = True
        await world.patch("services", "web", {"metadata": {"labels": {"a": "b"}}})
        await world.sleep(2)
        return {each["reason"]: each["message"] for each in await world.list("events")}

    assert tell(story, "endpoints-controller", faults=faults) == {
        "FailedToCreateEndpoint": "Failed to create endpoint for service default/web: busy",
        "FailedToUpdateEndpoint": "Failed to update endpoint default/web: busy",
    }
