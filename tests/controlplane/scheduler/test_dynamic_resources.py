"""Devices, from Kubernetes documentation: Dynamic Resource Allocation (ResourceSlice, DeviceClass, ResourceClaim)."""

from datetime import UTC, datetime

import msgspec
import pytest

from kobune.controlplane.scheduler import views
from kobune.controlplane.scheduler.device_cel import seen, selects
from kobune.controlplane.scheduler.device_results import allocation
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.plugins.dynamic_resources import DynamicResources

DRIVER = "gpu.example.com"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def keyed(view, *manifests):
    return {(one := msgspec.convert(manifest, view)).key: one for manifest in manifests}


def device(name, memory="40Gi", **attributes):
    return {
        "name": name,
        "attributes": {
            key: {"int" if isinstance(value, int) else "string": value} for key, value in attributes.items()
        },
        "capacity": {"memory": {"value": memory}},
    }


def slices(*devices, node="a", pool=None, **spec):
    where = {"nodeName": node} if node else {}
    return {
        "metadata": {"name": f"slice-{pool or node}-{spec.get('number', 0)}"},
        "spec": {
            "driver": DRIVER, "pool": {"name": pool or node, "generation": 1, "resourceSliceCount": 1}, "devices": list(devices),
            **where, **spec,
        },
    }  # fmt: skip


def request(name="gpu", **exactly):
    return {"name": name, "exactly": {"deviceClassName": "gpu", **exactly}}


def claim(*requests, name="claim", status=None, **devices):
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"devices": {"requests": list(requests), **devices}},
        "status": status or {},
    }


CLASS = {"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]}}


def world(claims, published, classes=(CLASS,)):
    return Listers(
        resource_claims=keyed(views.ResourceClaim, *claims),
        resource_slices=keyed(views.ResourceSlice, *published),
        device_classes=keyed(views.DeviceClass, *classes),
    )


def user(build, *claims):
    return build.info(resourceClaims=[{"name": name, "resourceClaimName": name} for name in claims or ("claim",)])


@pytest.fixture
def table(build):
    return build.table(build.node("a"), build.node("b"))


def accepted(listers, pod, table):
    mask = DynamicResources(listers).filter(pod, table, table.rows)
    return {name for name, row in table.row_of.items() if mask[row]}


def cel(expression):
    return [{"cel": {"expression": expression}}]


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        pytest.param([request()], {"a", "b"}, id="one-of-the-class"),
        pytest.param([request(count=2)], {"a"}, id="as-many-as-asked"),
        pytest.param([request(count=3)], set(), id="too-many"),
        pytest.param([request(), request("other")], {"a"}, id="two-requests-take-two"),
        pytest.param([request(allocationMode="All")], {"a", "b"}, id="all-there-are"),
        pytest.param([request(selectors=cel(f'device.attributes["{DRIVER}"].model == "big"'))], {"b"}, id="by-attribute"),
        pytest.param([request(selectors=cel(f'device.attributes["{DRIVER}"].absent == "x"'))], set(), id="which-is-not-there"),
        pytest.param(
            [request(selectors=cel(f'device.capacity["{DRIVER}"].memory.compareTo(quantity("80Gi")) >= 0'))], {"b"}, id="capacity"
        ),
        pytest.param([request(deviceClassName="none")], set(), id="of-no-class"),
        pytest.param(
            [{"name": "gpu", "firstAvailable": [
                {"name": "big", "deviceClassName": "gpu", "count": 9}, {"name": "small", "deviceClassName": "gpu"}]}],
            {"a", "b"}, id="the-first-alternative-that-can-be-had",
        ),
    ],
)  # fmt: skip
def test_devices_for_a_claim(build, table, requested, expected):
    published = [
        slices(device("x", model="small"), device("y", model="small")),
        slices(device("z", "80Gi", model="big"), node="b"),
    ]
    assert accepted(world([claim(*requested)], published), user(build), table) == expected


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        pytest.param({"matchAttribute": f"{DRIVER}/numa"}, {"a"}, id="the-same"),
        pytest.param({"distinctAttribute": f"{DRIVER}/numa"}, {"b"}, id="all-different"),
        pytest.param({"matchAttribute": f"{DRIVER}/absent"}, set(), id="which-must-be-there"),
    ],
)
def test_constraints_hold_between_the_devices_of_a_claim(build, table, constraint, expected):
    published = [
        slices(device("x", numa=0), device("y", numa=0)),
        slices(device("x", numa=0), device("y", numa=1), node="b"),
    ]
    two = claim(request(count=2), constraints=[constraint])
    assert accepted(world([two], published), user(build), table) == expected


def test_devices_that_a_claim_has_are_not_given_twice(build, table):
    result = {"request": "gpu", "driver": DRIVER, "pool": "a", "device": "x"}
    held = claim(request(), name="held", status={"allocation": {"devices": {"results": [result]}}})
    assert accepted(world([claim(request()), held], [slices(device("x"))]), user(build), table) == set()
    admin = claim(request(adminAccess=True))
    assert accepted(world([admin, held], [slices(device("x"))]), user(build), table) == {"a"}


def test_all_is_not_to_be_had_while_somebody_has_one(build, table):
    result = {"request": "gpu", "driver": DRIVER, "pool": "a", "device": "x"}
    held = claim(request(), name="held", status={"allocation": {"devices": {"results": [result]}}})
    everything = claim(request(allocationMode="All"))
    assert accepted(world([everything, held], [slices(device("x"), device("y"))]), user(build), table) == set()


def test_an_allocated_claim_ties_its_pods_to_where_its_devices_are(build, table):
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]
    shared = claim(
        request(), status={"allocation": {"devices": {"results": []}, "nodeSelector": {"nodeSelectorTerms": terms}}}
    )
    listers, pod = world([shared], []), user(build)
    assert accepted(listers, pod, table) == {"b"}
    texts = [one.text for one in DynamicResources(listers).explain(pod, table) if one.rows[table.row_of["a"]]]
    assert texts == ["resourceclaim not available on the node"]


def test_where_a_slice_can_be_used(build):
    table = build.table(build.node("a", labels={"rack": "1"}), build.node("b"))
    terms = [{"matchExpressions": [{"key": "rack", "operator": "In", "values": ["1"]}]}]
    network = slices(device("x"), node="", pool="net", nodeSelector={"nodeSelectorTerms": terms})
    assert accepted(world([claim(request())], [network]), user(build), table) == {"a"}
    anywhere = slices(device("x"), node="", pool="net", allNodes=True)
    assert accepted(world([claim(request())], [anywhere]), user(build), table) == {"a", "b"}


def test_a_pool_that_is_still_being_published_is_not_used(build, table):
    half = slices(device("x"))
    half["spec"]["pool"]["resourceSliceCount"] = 2
    assert accepted(world([claim(request())], [half]), user(build), table) == set()


def test_tainted_devices_need_a_toleration(build, table):
    broken = device("x") | {"taints": [{"key": "broken", "effect": "NoSchedule"}]}
    assert accepted(world([claim(request())], [slices(broken)]), user(build), table) == set()
    brave = claim(request(tolerations=[{"key": "broken", "operator": "Exists"}]))
    assert accepted(world([brave], [slices(broken)]), user(build), table) == {"a"}


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        pytest.param([], 'resourceclaim "claim" not found', id="no-such-claim"),
        pytest.param([claim(request(deviceClassName="none"))], "request gpu: device class none does not exist", id="no-class"),
        pytest.param(
            [claim(request(), status={"reservedFor": [{"uid": str(number)} for number in range(256)]})], "resourceclaim in use",
            id="too-many-users",
        ),
    ],
)  # fmt: skip
def test_some_claims_keep_a_pod_from_every_node(build, table, claims, problem):
    assert DynamicResources(world(claims, [])).refuse(user(build), table).text == problem


def test_a_claim_from_a_template_is_awaited(build, table):
    pod = build.info(name="web", resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])
    text = DynamicResources(world([], [])).refuse(pod, table).text
    assert text == 'pod "default/web": ResourceClaim not created yet'


def test_devices_promised_to_a_pod_on_its_way_are_kept_from_others(build, table):
    listers = world([claim(request()), claim(request(), name="other")], [slices(device("x"))])
    plugin, first = DynamicResources(listers), user(build)
    plugin.reserve(first, table, table.row_of["a"])
    assert plugin.prepares(first)
    assert not plugin.filter(user(build, "other"), table, table.rows).any()
    assert plugin.refuse(user(build), table).text == "resource claim default/claim is in the process of being allocated"
    plugin.unreserve(first)
    assert plugin.filter(user(build, "other"), table, table.rows)[table.row_of["a"]]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('device.attributes["d"].version.isGreaterThan(semver("1.2.3"))', True),
        ('device.attributes["d"].version.compareTo(semver("1.10.0")) == 0', True),
        ('device.attributes["d"].version.isLessThan(semver("1.10.0-rc.1"))', False),
        ('device.capacity["d"].memory.isGreaterThan(quantity("1Gi"))', True),
        ('"version" in device.attributes["d"] && !("x" in device.attributes["d"])', True),
        ("device.driver", False),
        ("device.allowMultipleAllocations", True),
    ],
)
def test_expressions(expression, expected):
    one = seen("d", {"d/version": ("version", "1.10.0")}, {"d/memory": "2Gi"}, shared=True)
    assert selects(expression, one) is expected


def test_an_expression_that_is_none_selects_nothing(build, table):
    bad = claim(request(selectors=cel("device.")))
    assert accepted(world([bad], [slices(device("x"))]), user(build), table) == set()


def test_what_is_no_expression_is_refused():
    with pytest.raises(ValueError, match="Syntax error"):
        selects("device.", {})


def card(*parts, memory="40Gi", pool="card"):
    """A card of which devices take parts: a slice with the counters, and one with the devices."""
    where = {"pool": {"name": pool, "generation": 1, "resourceSliceCount": 2}}
    counters = slices(pool=pool, number=1, sharedCounters=[{"name": "card", "counters": {"memory": {"value": memory}}}])
    devices = slices(*(part(name, size) for name, size in parts), pool=pool, number=2)
    for one in (counters, devices):
        one["spec"].update(where)
    return [counters, devices]


def part(name, memory):
    return {**device(name), "consumesCounters": [{"counterSet": "card", "counters": {"memory": {"value": memory}}}]}


def held(name):
    result = {"request": "gpu", "driver": DRIVER, "pool": "card", "device": name}
    return claim(request(), name=f"of-{name}", status={"allocation": {"devices": {"results": [result]}}})


HALVES = (("whole", "40Gi"), ("half-1", "20Gi"), ("half-2", "20Gi"))


@pytest.mark.parametrize(
    ("users", "count", "fits"),
    [
        pytest.param((), 1, True, id="an-unused-card"),
        pytest.param((), 2, True, id="two-halves-found-although-the-whole-is-looked-at-first"),
        pytest.param((), 3, False, id="no-more-than-there-is"),
        pytest.param(("half-1",), 1, True, id="the-other-half"),
        pytest.param(("half-1",), 2, False, id="not-the-whole-beside-a-half"),
        pytest.param(("whole",), 1, False, id="nothing-beside-the-whole"),
    ],
)
def test_devices_share_what_a_card_has(build, table, users, count, fits):
    listers = world([claim(request(count=count)), *(held(name) for name in users)], card(*HALVES))
    assert accepted(listers, user(build), table) == ({"a"} if fits else set())


def test_claims_of_one_pod_share_too(build, table):
    both = [claim(request(), name="one"), claim(request(), name="two")]
    halves = card(*HALVES[1:])
    assert accepted(world(both, halves), user(build, "one", "two"), table) == {"a"}
    assert accepted(world(both, card(*HALVES[1:], memory="30Gi")), user(build, "one", "two"), table) == set()


def test_a_counter_that_nobody_publishes_has_nothing(build, table):
    alone = [slices(part("half", "20Gi"))]
    assert accepted(world([claim(request())], alone), user(build), table) == set()


def network(policy=None, value="10Gi"):
    """A device that several claims may share."""
    capacity = {"memory": {"value": value, **({"requestPolicy": policy} if policy else {})}}
    return slices({**device("card"), "allowMultipleAllocations": True, "capacity": capacity})


def shared_by(amount, name):
    result = {
        "request": "gpu", "driver": DRIVER, "pool": "a", "device": "card", "shareID": name, "consumedCapacity": {"memory": amount}
    }  # fmt: skip
    return claim(request(), name=name, status={"allocation": {"devices": {"results": [result]}}})


def wanting(amount, **more):
    return request(capacity={"requests": {"memory": amount}}, **more)


RANGE = {"default": "1Gi", "validRange": {"min": "2Gi", "step": "2Gi", "max": "8Gi"}}
VALUES = {"default": "1Gi", "validValues": ["1Gi", "4Gi"]}


@pytest.mark.parametrize(
    ("policy", "others", "asked", "fits"),
    [
        pytest.param(None, (), wanting("10Gi"), True, id="all-of-it"),
        pytest.param(None, ("6Gi",), wanting("4Gi"), True, id="what-is-left"),
        pytest.param(None, ("6Gi", "1Gi"), wanting("4Gi"), False, id="more-than-is-left"),
        pytest.param(None, ("1Gi",), request(), False, id="without-a-request-all-of-it"),
        pytest.param(VALUES, ("9Gi",), request(), True, id="or-the-policys-default"),
        pytest.param(VALUES, ("7Gi",), wanting("2Gi"), False, id="rounded-up-to-a-valid-value"),
        pytest.param(VALUES, (), wanting("5Gi"), False, id="above-every-valid-value"),
        pytest.param(RANGE, ("7Gi",), wanting("3Gi"), False, id="rounded-up-to-a-step"),
        pytest.param(RANGE, ("6Gi",), wanting("3Gi"), True, id="a-step-that-is-left"),
        pytest.param(RANGE, (), wanting("9Gi"), False, id="above-the-range"),
        pytest.param(None, (), wanting("5Gi", count=2), True, id="the-same-device-twice"),
        pytest.param(None, (), wanting("6Gi", count=2), False, id="but-not-beyond-its-capacity"),
        pytest.param(None, (), request(capacity={"requests": {"cores": "1"}}), False, id="a-capacity-it-does-not-have"),
    ],
)
def test_a_device_is_shared_as_far_as_its_capacity_goes(build, table, policy, others, asked, fits):
    users = [shared_by(amount, f"user-{number}") for number, amount in enumerate(others)]
    listers = world([claim(asked), *users], [network(policy)])
    assert accepted(listers, user(build), table) == ({"a"} if fits else set())


def test_a_share_is_written_with_its_size_and_a_name_of_its_own(build, table):
    listers = world([claim(wanting("3Gi", count=2))], [network(RANGE)])
    plugin = DynamicResources(listers)
    pod = user(build)
    plugin.reserve(pod, table, table.row_of["a"])
    (one,) = listers.resource_claims.values()
    grants = plugin._decisions[pod.uid].grants[one.key]
    results = allocation(one, grants, "a", listers.device_classes, NOW)["devices"]["results"]
    assert [result["consumedCapacity"] for result in results] == [{"memory": str(4 * 2**30)}] * 2
    assert len({result["shareID"] for result in results}) == 2


def test_what_is_promised_of_a_shared_device_counts_before_it_is_written(build, table):
    listers = world([claim(wanting("6Gi")), claim(wanting("6Gi"), name="other")], [network()])
    plugin, pod = DynamicResources(listers), user(build)
    plugin.reserve(pod, table, table.row_of["a"])
    assert not plugin.filter(user(build, "other"), table, table.rows)[table.row_of["a"]]


def test_a_node_with_the_preferred_alternative_is_better(build, table):
    large = {
        "name": "large",
        "deviceClassName": "gpu",
        "selectors": cel(f"device.attributes['{DRIVER}'].size == 'large'"),
    }
    small = {"name": "small", "deviceClassName": "gpu"}
    preferring = {"name": "gpu", "firstAvailable": [large, small]}
    published = [slices(device("one", size="small"), node="a"), slices(device("two", size="large"), node="b")]
    plugin = DynamicResources(world([claim(preferring)], published))
    scores = plugin.rank(user(build), table, table.exists[table.rows])
    assert {name: int(scores[row]) for name, row in table.row_of.items()} == {"a": 87, "b": 100}
    alike = DynamicResources(world([claim(request())], published))
    assert alike.rank(user(build), table, table.exists[table.rows]) is None
