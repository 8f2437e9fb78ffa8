"""Preemption from Kubernetes documentation, Pod Priority and Preemption; choice and words from upstream preemption.go."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.preemption import Limits, NoRoom, Preemption, Room
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.controlplane.scheduler.views import PodDisruptionBudget


def make_room(pod, table, *budgets, nominated=None):
    profile = build_profile(ProfileConfiguration(), Listers()).profile
    nominated = nominated or Nominations()
    diagnosis = profile.diagnose(pod, table, nominated)
    return Preemption(profile).make_room(pod, table, nominated, diagnosis, budgets, random.Random(1))


def victims(room):
    return room.node_name, [pod.name for pod in room.victims]


def budget(allowed, **labels):
    manifest = {
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}},
        "status": {"disruptionsAllowed": allowed},
    }
    return msgspec.convert(manifest, PodDisruptionBudget)


def started(minute):
    return {"status": {"startTime": f"2026-01-01T00:{minute:02}:00Z"}}


def big(build, priority=10, **fields):
    return build.info(name="big", priority=priority, requests={"cpu": "4"}, **fields)


def test_only_as_many_pods_go_as_need_to_and_the_least_important(build):
    pods = [
        build.info(name=f"p{priority}", on="a", priority=priority, requests={"cpu": "1"}) for priority in (1, 3, 2, 4)
    ]
    table = build.table(build.node("a", cpu="4"), pods=pods)
    pod = build.info(priority=10, requests={"cpu": "2"})
    assert victims(make_room(pod, table)) == ("a", ["p2", "p1"])
    assert int(table.requested[0, 0]) == 4000
    assert set(table.pods[0]) == {pod.uid for pod in pods}


def test_pods_of_the_same_or_a_higher_priority_stay(build):
    table = build.table(build.node("a"), pods=[build.info(on="a", priority=10, requests={"cpu": "4"})])
    assert make_room(big(build), table) == NoRoom(
        "0/1 nodes are available: 1 No preemption victims found for incoming pod.", clear=True
    )


def test_what_no_eviction_helps_is_said_in_upstreams_words(build):
    taint = {"key": "k", "effect": "NoSchedule"}
    table = build.table(
        build.node("tainted", taints=[taint]), build.node("small", cpu="1"), build.node("mixed"), build.node("high"),
        pods=[
            build.info(on="mixed", priority=1, requests={"cpu": "1"}), build.info(on="mixed", priority=20, requests={"cpu": "3"}),
            build.info(on="high", priority=20, requests={"cpu": "3"}),
        ],
    )  # fmt: skip
    assert make_room(big(build), table).text == (
        "0/4 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_a_pod_that_may_never_preempt(build):
    table = build.table(build.node("a"), pods=[build.info(on="a", requests={"cpu": "4"})])
    pod = big(build, preemptionPolicy="Never")
    assert make_room(pod, table) == NoRoom("not eligible due to preemptionPolicy=Never.", clear=False)


def test_no_more_evictions_while_victims_are_going(build):
    leaving = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}}  # fmt: skip
    table = build.table(build.node("a"), pods=[build.info(on="a", requests={"cpu": "4"}, **leaving)])
    pod = big(build, status={"nominatedNodeName": "a"})
    assert make_room(pod, table) == NoRoom("not eligible due to a terminating pod on the nominated node.", clear=False)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param([(5, 0)], [(4, 0)], "b", id="the-lower-highest-priority"),
        pytest.param([(5, 0), (5, 0)], [(5, 0), (1, 0)], "b", id="then-the-smaller-sum"),
        pytest.param([(-5, 0), (-5, 0)], [(-5, 0)], "b", id="in-which-negative-priorities-count-too"),
        pytest.param([(5, 1)], [(5, 9)], "b", id="then-the-pod-that-started-last"),
    ],
)
def test_the_node_whose_loss_is_least(build, first, second, expected):
    pods = [
        build.info(on=node, priority=priority, requests={"cpu": f"{4 // len(group)}"}, **started(minute))
        for node, group in (("a", first), ("b", second))
        for priority, minute in group
    ]
    table = build.table(build.node("a"), build.node("b"), pods=pods)
    assert make_room(big(build), table).node_name == expected


def test_budgets_are_broken_only_where_nothing_else_helps(build):
    guarded = build.info(on="a", priority=1, labels={"app": "x"}, requests={"cpu": "4"})
    free = build.info(on="b", priority=5, requests={"cpu": "4"})
    table = build.table(build.node("a"), build.node("b"), pods=[guarded, free])
    assert make_room(big(build), table, budget(0, app="x")).node_name == "b"
    assert make_room(big(build), table, budget(1, app="x")).node_name == "a"
    table.remove_node("b")
    assert make_room(big(build), table, budget(0, app="x")) == Room("a", (guarded,), violations=1)


def test_on_one_node_the_guarded_pod_is_spared_even_if_less_important(build):
    guarded = build.info(name="guarded", on="a", priority=1, labels={"app": "x"}, requests={"cpu": "2"})
    plain = build.info(name="plain", on="a", priority=5, requests={"cpu": "2"})
    table = build.table(build.node("a"), pods=[guarded, plain])
    pod = build.info(priority=10, requests={"cpu": "2"})
    assert victims(make_room(pod, table, budget(0, app="x"))) == ("a", ["plain"])


def test_anti_affinity_can_be_cured_by_evicting_the_pod_that_stands_in_the_way(build):
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}]}}  # fmt: skip
    hated = build.info(name="hated", on="a", labels={"app": "x"})
    table = build.table(build.node("a"), pods=[hated, build.info(on="a", labels={"app": "y"})])
    assert victims(make_room(build.info(priority=1, affinity=anti), table)) == ("a", ["hated"])


def test_room_already_promised_to_a_pod_of_higher_priority_is_not_given_away(build):
    table = build.table(build.node("a"), pods=[build.info(on="a", requests={"cpu": "4"})])
    nominated = Nominations()
    nominated.put(build.info(priority=20, requests={"cpu": "4"}), "a")
    assert isinstance(make_room(big(build), table, nominated=nominated), NoRoom)


def test_a_tenth_of_the_nodes_is_tried_but_at_least_a_hundred():
    assert [Limits().candidates(nodes) for nodes in (7, 100, 500, 5000)] == [7, 100, 100, 500]


PODS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 3), st.booleans(), st.integers(0, 3)), max_size=14
)


@settings(max_examples=30)
@given(PODS, st.integers(1, 4), st.integers(0, 2))
def test_arithmetic_picks_what_trying_every_pod_picks(build, placed, wanted, allowed):
    """The quick way for pods that want nothing but room, against taking pods off and putting them back."""
    pods = [
        build.info(on=f"n{where}", priority=priority, requests={"cpu": str(cpu)} if cpu else {},
                   labels={"app": "x"} if guarded else {"app": "y"}, **started(minute))
        for where, priority, cpu, guarded, minute in placed
    ]  # fmt: skip
    nodes = [build.node(f"n{index}", cpu="4", pods=4) for index in range(3)]
    table = build.table(*nodes, pods=pods)
    before = table.requested.copy()
    quick = make_room(build.info(priority=4, requests={"cpu": str(wanted)}), table, budget(allowed, app="x"))
    # A host port makes the pod one for which filters have to be asked.
    port = [{"containerPort": 1, "hostPort": 1}]
    slow = make_room(build.info(priority=4, requests={"cpu": str(wanted)}, ports=port), table, budget(allowed, app="x"))
    assert np.array_equal(table.requested, before)
    assert type(quick) is type(slow)
    if isinstance(quick, Room) and isinstance(slow, Room):
        assert quick == slow


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 6), st.integers(1, 3)), max_size=16)


@settings(max_examples=30)
@given(STEPS)
def test_rooms_that_are_remembered_are_those_of_a_fresh_look(build, steps):
    """Whatever pods come, go, start or are promised room in between."""
    profile = build_profile(ProfileConfiguration(), Listers()).profile
    kept, nominated, placed = Preemption(profile), Nominations(), []
    table = build.table(*(build.node(f"n{index}", cpu="4") for index in range(3)))
    probe = build.info(priority=5, requests={"cpu": "3"})
    for what, where, priority, cpu in steps:
        if what == 0:
            placed.append(build.info(on=f"n{where}", priority=priority, requests={"cpu": str(cpu)}, **started(cpu)))
            table.add_pod(placed[-1], f"n{where}")
        elif what == 1 and placed:
            gone = placed.pop()
            table.remove_pod(gone.uid, gone.node_name)
        elif what == 2:
            nominated.put(build.info(priority=priority, requests={"cpu": str(cpu)}), f"n{where}")
        else:
            table.put_node(build.node(f"n{where}", cpu=str(cpu + 2)))
        diagnosis = profile.diagnose(probe, table, nominated)
        again = kept.make_room(probe, table, nominated, diagnosis, (), random.Random(1))
        fresh = Preemption(profile).make_room(probe, table, nominated, diagnosis, (), random.Random(1))
        assert again == fresh


@settings(max_examples=30)
@given(STEPS)
def test_room_promised_is_reckoned_as_if_the_pods_were_there(build, steps):
    """The sums over expected pods, against moving them in and asking the filters."""
    profile = build_profile(ProfileConfiguration(), Listers()).profile
    table, nominated = build.table(*(build.node(f"n{index}", cpu="4", pods=4) for index in range(3))), Nominations()
    for _, where, priority, cpu in steps:
        nominated.put(build.info(priority=priority, requests={"cpu": str(cpu)}), f"n{where}")
        pod = build.info(priority=3, requests={"cpu": "2"})
        quick, told = profile.feasible(pod, table, nominated), profile.diagnose(pod, table, nominated).message()
        particular = Nominations()
        for name in ("n0", "n1", "n2"):
            for one in nominated.on(name):
                particular.put(one, name)
        # A port that nobody else wants makes it necessary to ask.
        particular.put(build.info(priority=-1, ports=[{"containerPort": 9, "hostPort": 9}]), "n0")
        assert np.array_equal(quick, profile.feasible(pod, table, particular))
        assert told == profile.diagnose(pod, table, particular).message()
