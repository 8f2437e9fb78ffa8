"""The cycle: which node is picked, and in which words a pod is refused. Source: upstream schedule_one.go, FitError."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.plugins.image_locality import ImageLocality
from kobune.controlplane.scheduler.plugins.node_affinity import NodeAffinity
from kobune.controlplane.scheduler.plugins.node_name import NodeName
from kobune.controlplane.scheduler.plugins.node_ports import NodePorts
from kobune.controlplane.scheduler.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from kobune.controlplane.scheduler.plugins.node_resources_fit import NodeResourcesFit
from kobune.controlplane.scheduler.plugins.node_unschedulable import NodeUnschedulable
from kobune.controlplane.scheduler.plugins.taint_toleration import TaintToleration
from kobune.controlplane.scheduler.profile import Profile, split_scores

TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
NOBODY = Nominations()


def new_profile():
    plugins = [
        (NodeUnschedulable(), 0), (NodeName(), 0), (TaintToleration(), 3), (NodeAffinity(), 2), (NodePorts(), 0),
        (NodeResourcesFit(), 1), (NodeResourcesBalancedAllocation(), 1), (ImageLocality(), 1),
    ]  # fmt: skip
    scores, ranks = split_scores([one for one in plugins if one[1]])
    return Profile("default-scheduler", [plugin for plugin, _ in plugins if hasattr(plugin, "filter")], scores, ranks)


def pick(profile, pod, table, seed=1, nominated=NOBODY):
    row = profile.find_node(pod, table, nominated, random.Random(seed))
    return None if row is None else table.names[row]


def test_the_emptiest_node_is_picked(build):
    table = build.table(build.node("a"), build.node("b"), pods=[build.info(on="a", requests={"cpu": "1"})])
    assert pick(new_profile(), build.info(requests={"cpu": "1"}), table) == "b"


def test_ties_are_broken_by_the_seed(build):
    table = build.table(*(build.node(f"n{i}") for i in range(8)))
    picks = [pick(new_profile(), build.info(), table, seed) for seed in range(20)]
    assert len(set(picks)) > 3
    assert picks == [pick(new_profile(), build.info(), table, seed) for seed in range(20)]


def test_the_message_names_every_reason_with_its_number_of_nodes(build):
    table = build.table(
        build.node("a", cpu="1"), build.node("b", cpu="1", memory="1Gi"),
        *(build.node(f"t{i}", taints=[TAINT]) for i in range(3)), build.node("c", unschedulable=True),
    )  # fmt: skip
    diagnosis = new_profile().diagnose(build.info(requests={"cpu": "2", "memory": "2Gi"}), table, NOBODY)
    assert diagnosis.message() == (
        "0/6 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu, "
        "3 node(s) had untolerated taint(s)."
    )
    assert diagnosis.plugins == {"NodeUnschedulable", "TaintToleration", "NodeResourcesFit"}


def test_without_nodes_the_message_says_so(build):
    assert new_profile().diagnose(build.info(), NodeTable(), NOBODY).message() == "no nodes available to schedule pods"


def only_on(name):
    """A DaemonSet's affinity."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def test_a_pod_for_one_named_node_goes_there_if_anywhere(build):
    table, nominated = (
        build.table(build.node("a"), build.node("b", cpu="1"), build.node("c", taints=[TAINT])),
        Nominations(),
    )
    nominated.put(build.info(priority=5, requests={"cpu": "3"}), "a")
    asked = [("a", 2, 5), ("a", 2, 6), ("b", 2, 5), ("b", 1, 5), ("c", 1, 5), ("gone", 1, 5)]
    pods = [
        build.info(affinity=only_on(name), requests={"cpu": str(cpu)}, priority=priority)
        for name, cpu, priority in asked
    ]
    picks = [pick(new_profile(), pod, table, nominated=nominated) for pod in pods]
    assert picks == [None, "a", None, "b", None, None]


def test_a_pod_for_one_named_node_says_who_left_the_others_out(build):
    """Upstream PreFilterResult and AbsentNodesStatus."""
    pod = build.info(affinity=only_on("a"), requests={"cpu": "9"})
    table = build.table(build.node("a"), build.node("b"), build.node("c"))
    assert new_profile().diagnose(pod, table, NOBODY).message() == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    )


def test_conflicting_terms_are_the_whole_message(build):
    fields = [{"key": "metadata.name", "operator": "In", "values": [name]} for name in "ab"]
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": fields}]}
        }
    }
    diagnosis = new_profile().diagnose(build.info(affinity=affinity), build.table(build.node("a")), NOBODY)
    assert diagnosis.message() == "0/1 nodes are available: pod affinity terms conflict."


def test_only_nodes_that_an_eviction_might_help_are_resolvable(build):
    table = build.table(
        build.node("full", cpu="4"), build.node("small", cpu="1"), build.node("tainted", taints=[TAINT]),
        pods=[build.info(on="full", requests={"cpu": "4"})],
    )  # fmt: skip
    diagnosis = new_profile().diagnose(build.info(requests={"cpu": "2"}), table, NOBODY)
    assert [table.names[row] for row in np.flatnonzero(diagnosis.resolvable)] == ["full"]


def test_room_made_for_a_pod_is_left_to_it_by_pods_of_no_higher_priority(build):
    table, nominated = build.table(build.node("a", cpu="2")), Nominations()
    nominated.put(build.info(priority=5, requests={"cpu": "2"}), "a")
    profile = new_profile()
    assert pick(profile, build.info(priority=5, requests={"cpu": "1"}), table, nominated=nominated) is None
    assert pick(profile, build.info(priority=6, requests={"cpu": "1"}), table, nominated=nominated) == "a"
    message = profile.diagnose(build.info(priority=5, requests={"cpu": "1"}), table, nominated).message()
    assert message == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_pod_takes_the_node_where_room_was_made_for_it_without_looking_at_better_ones(build):
    table = build.table(build.node("a"), build.node("b"), pods=[build.info(on="a", requests={"cpu": "2"})])
    assert pick(new_profile(), build.info(status={"nominatedNodeName": "a"}), table) == "a"


@pytest.mark.parametrize("feature", ["taint", "zone", "cpu", "label"])
def test_a_change_of_a_node_is_seen_by_a_shape_judged_before(build, feature):
    profile, table = new_profile(), build.table(build.node("a", labels={"zone": "z1"}))
    pod = build.info(requests={"cpu": "2"}, nodeSelector={"zone": "z1"})
    assert pick(profile, pod, table) == "a"
    changed = {
        "taint": build.node("a", labels={"zone": "z1"}, taints=[TAINT]),
        "zone": build.node("a", labels={"zone": "z2"}),
        "cpu": build.node("a", labels={"zone": "z1"}, cpu="1"),
        "label": build.node("a"),
    }
    table.put_node(changed[feature])
    assert pick(profile, pod, table) is None


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 7)), max_size=40)


@settings(max_examples=30)
@given(STEPS)
def test_a_verdict_kept_up_to_date_is_the_one_of_a_fresh_look(build, steps):
    """Whatever pods and nodes come and go in between."""
    kept, table = new_profile(), NodeTable()
    shapes = [
        build.info(requests={"cpu": "1", "memory": "1Gi"}), build.info(nodeSelector={"zone": "z1"}),
        build.info(ports=[{"containerPort": 1, "hostPort": 80}]), build.info(tolerations=[{"operator": "Exists"}]),
    ]  # fmt: skip
    for what, which, where in steps:
        if what == 0:
            table.put_node(
                build.node(
                    f"n{where}", cpu=str(which + 1), labels={"zone": f"z{which % 2}"}, taints=[TAINT] if which > 3 else [],
                    images={"app:latest": 500_000_000} if which == 2 else {},
                )
            )  # fmt: skip
        elif what == 1:
            table.remove_node(f"n{where}")
        elif what == 2:
            table.add_pod(shapes[which % 4], f"n{where}")
        else:
            table.remove_pod(shapes[which % 4].uid, f"n{where}")
        probe = shapes[where % 4]
        mask = kept.feasible(probe, table, NOBODY)
        fresh = new_profile()
        assert np.array_equal(mask, fresh.feasible(probe, table, NOBODY))
        assert np.array_equal(kept.totals(probe, table, mask), fresh.totals(probe, table, mask))
