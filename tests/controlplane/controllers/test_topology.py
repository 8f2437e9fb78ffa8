"""Topology-aware hints: endpoints by the zones' shares of CPUs."""

from collections import Counter

import pytest

from kobune.api.objects.core import Node, NodeStatus
from kobune.api.objects.meta import Condition, ObjectMeta
from kobune.controlplane.controllers.topology import Impossible, Placed, cpu_ratios, plan_hints, shares, wants_hints

ONLY = "endpointslice-controller"
ZONE = "topology.kubernetes.io/zone"


def node(zone, cpu="1", ready="True", **labels):
    metadata = ObjectMeta(name="n", labels={**({ZONE: zone} if zone else {}), **labels})
    conditions = [Condition(type="Ready", status=ready)]
    return Node(metadata=metadata, status=NodeStatus(allocatable={"cpu": cpu} if cpu else {}, conditions=conditions))


def placed(before="", **zones):
    return [Placed(f"{zone}{number}", zone, before) for zone, count in zones.items() for number in range(count)]


@pytest.mark.parametrize(
    ("nodes", "ratios"),
    [
        pytest.param([node("a"), node("b", "3")], {"a": 0.25, "b": 0.75}, id="by-cpu"),
        pytest.param([node("a"), node("b", "500m"), node("b", "500m")], {"a": 0.5, "b": 0.5}, id="summed"),
        pytest.param([node("a"), node("b"), node("", ready="False")], {"a": 0.5, "b": 0.5}, id="only-ready-ones"),
        pytest.param([node("a"), node("b"), node("")], {}, id="one-without-a-zone"),
        pytest.param([node("a"), node("b", "")], {}, id="one-without-cpu"),
        pytest.param([node("a"), node("a")], {}, id="one-zone"),
        pytest.param(
            [node("a"), node("b"), node("", **{"node-role.kubernetes.io/control-plane": ""})],
            {"a": 0.5, "b": 0.5},
            id="control-plane-nodes-do-not-count",
        ),
    ],
)
def test_the_zones_shares_of_cpus(nodes, ratios):
    assert cpu_ratios(nodes) == ratios


@pytest.mark.parametrize(
    ("ratios", "endpoints", "message"),
    [
        ({}, 5, "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"),
        ({"a": 0.5, "b": 0.5}, 1, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (
            {"a": 0.9, "b": 0.05, "c": 0.05},
            3,
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
            " (3 endpoints, 3 zones)",
        ),
    ],
)
def test_where_no_fair_share_is_possible_there_are_no_hints(ratios, endpoints, message):
    with pytest.raises(Impossible) as refused:
        shares(ratios, endpoints)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("endpoints", "ratios", "expected"),
    [
        pytest.param(placed(a=3, b=3), {"a": 0.5, "b": 0.5}, {"a": 3, "b": 3}, id="as-they-are"),
        pytest.param(placed(a=5, b=1), {"a": 0.5, "b": 0.5}, {"a": 3, "b": 3}, id="lent"),
        pytest.param(placed(a=4, b=5), {"a": 0.5, "b": 0.5}, {"a": 4, "b": 5}, id="half-an-endpoint-stays"),
        pytest.param(placed(a=8), {"a": 0.25, "b": 0.75}, {"a": 2, "b": 6}, id="a-zone-without-endpoints-borrows"),
        pytest.param(placed(a=2, b=2, before="b"), {"a": 0.5, "b": 0.5}, {"a": 2, "b": 2}, id="too-many-before"),
    ],
)
def test_each_zone_gets_its_share(endpoints, ratios, expected):
    hints = plan_hints(endpoints, ratios)
    assert Counter(hints.values()) == expected
    again = [each._replace(before=hints[each.uid]) for each in endpoints]
    assert plan_hints(again, ratios) == hints  # A second pass changes nothing.


def test_endpoints_without_a_zone_stop_it():
    with pytest.raises(Impossible, match="One or more endpoints do not have a zone specified"):
        plan_hints([*placed(a=3, b=2), Placed("x", "", "")], {"a": 0.5, "b": 0.5})


def test_the_older_annotation_decides():
    new, old = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
    assert wants_hints({new: "Auto"})
    assert wants_hints({new: "auto", old: "auto"})
    assert not wants_hints({new: "Auto", old: "Disabled"})
    assert not wants_hints({})


async def hints_of(world):
    slices = await world.list("endpointslices")
    endpoints = [endpoint for each in slices for endpoint in each["endpoints"] or ()]
    return Counter(zone["name"] for each in endpoints for zone in (each.get("hints") or {}).get("forZones", ()))


def test_a_service_gets_hints_loses_them_and_is_told(tell):
    async def story(world):
        for zone in "ab":
            await world.create("nodes", {"metadata": {"name": zone, "labels": {ZONE: zone}}}, "")
            conditions = [{"type": "Ready", "status": "True"}]
            status = {"allocatable": {"cpu": "2"}, "conditions": conditions}
            await world.patch("nodes", zone, {"status": status}, "", "status")
        metadata = {"name": "web", "annotations": {"service.kubernetes.io/topology-mode": "Auto"}}
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}], "trafficDistribution": "PreferSameZone"}
        await world.create("services", {"metadata": metadata, "spec": spec})
        for number in range(4):
            pod = {"nodeName": "a", "containers": [{"name": "c", "image": "i"}]}
            labels = {"app": "web"}
            await world.create("pods", {"metadata": {"name": f"p{number}", "labels": labels}, "spec": pod})
        await world.sleep(5)
        shared = await hints_of(world)
        # A node that is not ready takes its zone out: the Service is overloaded and has no hints any more.
        status = {"conditions": [{"type": "Ready", "status": "False"}]}
        await world.patch("nodes", "b", {"status": status}, "", "status")
        await world.sleep(5)
        without = await hints_of(world)
        change = {"metadata": {"annotations": {"service.kubernetes.io/topology-mode": None}}}
        await world.patch("services", "web", change)
        await world.sleep(5)
        events = [(each["type"], each["reason"], each["message"]) for each in await world.list("events")]
        return shared, without, await hints_of(world), events

    shared, without, same_zone, events = tell(story, ONLY)
    assert shared == {"a": 2, "b": 2}
    assert without == {}
    assert same_zone == {"a": 4}  # The Service's trafficDistribution counts without the annotation.
    told = "Topology Aware Hints has been enabled, addressType: IPv4"
    assert ("Normal", "TopologyAwareHintsEnabled", told) in events
    few = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4"
    assert ("Warning", "TopologyAwareHintsDisabled", few) in events
