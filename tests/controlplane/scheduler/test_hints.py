"""Which events are worth another try for a pod that a plugin refused. Source: upstream's queueing hints, per plugin."""

import pytest

from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.events import NODE, POD, Action, ClusterEvent, node_actions, pod_actions
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.profiles import build_profile

TAINT = {"key": "k", "effect": "NoSchedule"}
ANTI = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
    {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}]}}  # fmt: skip
NEAR = {"podAffinity": ANTI["podAntiAffinity"]}
SPREAD = [
    {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
]


@pytest.fixture(scope="module")
def helps():
    running = build_profile(ProfileConfiguration(), Listers())
    return running.helps


def node_update(build, old, new):
    before, after = build.node("a", **old), build.node("a", **new)
    return ClusterEvent(NODE, node_actions(before, after), before, after)


@pytest.mark.parametrize(
    ("plugin", "pod", "old", "new", "worth"),
    [
        pytest.param("NodeUnschedulable", {}, {"unschedulable": True}, {}, True, id="uncordoned"),
        pytest.param("NodeUnschedulable", {}, {}, {"labels": {"x": "y"}}, False, id="a-label-opens-no-cordoned-node"),
        pytest.param("TaintToleration", {}, {"taints": [TAINT]}, {}, True, id="the-taint-is-gone"),
        pytest.param("TaintToleration", {}, {}, {"taints": [{"key": "soft", "effect": "PreferNoSchedule"}]}, False, id="it-fitted-before"),
        pytest.param("NodeAffinity", {"nodeSelector": {"d": "ssd"}}, {}, {"labels": {"d": "ssd"}}, True, id="now-it-matches"),
        pytest.param("NodeAffinity", {"nodeSelector": {"d": "ssd"}}, {}, {"labels": {"d": "hdd"}}, False, id="still-not"),
        pytest.param("NodeResourcesFit", {"requests": {"cpu": "6"}}, {"cpu": "4"}, {"cpu": "8"}, True, id="grown-large-enough"),
        pytest.param("NodeResourcesFit", {"requests": {"cpu": "6"}}, {"cpu": "4"}, {"cpu": "5"}, False, id="grown-too-little"),
        pytest.param(
            "NodeResourcesFit", {"requests": {"cpu": "1"}}, {"memory": "4Gi"}, {"memory": "8Gi"}, False, id="in-what-is-not-asked-for",
        ),
        pytest.param(
            "PodTopologySpread", {"labels": {"app": "x"}, "topologySpreadConstraints": SPREAD}, {}, {"labels": {"zone": "a"}}, True,
            id="a-node-joins-a-zone",
        ),
        pytest.param("InterPodAffinity", {"affinity": ANTI}, {}, {"labels": {"zone": "a"}}, True, id="a-node-moves"),
        pytest.param("NodePorts", {}, {}, {"labels": {"x": "y"}}, False, id="no-update-frees-a-port"),
        pytest.param("DefaultPreemption", {}, {"taints": [TAINT]}, {}, False, id="preemption-leaves-it-to-others"),
    ],
)  # fmt: skip
def test_updates_of_nodes(build, helps, plugin, pod, old, new, worth):
    assert helps(plugin, node_update(build, old, new), build.info(**pod)) is worth


@pytest.mark.parametrize("plugin", ["NodeName", "NodePorts", "TaintToleration", "NodeResourcesFit", "InterPodAffinity"])
def test_a_new_node_is_worth_a_try(build, helps, plugin):
    assert helps(plugin, ClusterEvent(NODE, Action.ADD, None, build.node("a")), build.info(requests={"cpu": "1"}))


def test_a_new_node_that_is_too_small_is_not(build, helps):
    event = ClusterEvent(NODE, Action.ADD, None, build.node("a", cpu="1"))
    assert not helps("NodeResourcesFit", event, build.info(requests={"cpu": "2"}))


@pytest.mark.parametrize(
    ("plugin", "pod", "gone", "worth"),
    [
        pytest.param("NodeResourcesFit", {}, {"on": "a"}, True, id="room"),
        pytest.param("NodeResourcesFit", {}, {}, False, id="a-pod-that-was-nowhere-leaves-no-room"),
        pytest.param(
            "NodePorts", {"ports": [{"containerPort": 1, "hostPort": 80}]},
            {"on": "a", "ports": [{"containerPort": 1, "hostPort": 80}]}, True, id="the-port",
        ),
        pytest.param(
            "NodePorts", {"ports": [{"containerPort": 1, "hostPort": 80}]},
            {"on": "a", "ports": [{"containerPort": 1, "hostPort": 81}]}, False, id="another-port",
        ),
        pytest.param("InterPodAffinity", {"affinity": ANTI}, {"on": "a", "labels": {"app": "x"}}, True, id="one-it-kept-away-from"),
        pytest.param("InterPodAffinity", {"labels": {"app": "x"}}, {"on": "a", "affinity": ANTI}, True, id="one-that-kept-it-away"),
        pytest.param("InterPodAffinity", {"affinity": ANTI}, {"on": "a", "labels": {"app": "y"}}, False, id="one-without-part-in-it"),
        pytest.param(
            "PodTopologySpread", {"labels": {"app": "x"}, "topologySpreadConstraints": SPREAD}, {"on": "a", "labels": {"app": "x"}},
            True, id="one-of-its-kind",
        ),
        pytest.param(
            "PodTopologySpread", {"labels": {"app": "x"}, "topologySpreadConstraints": SPREAD}, {"on": "a", "labels": {"app": "y"}},
            False, id="one-of-another-kind",
        ),
    ],
)  # fmt: skip
def test_pods_that_go(build, helps, plugin, pod, gone, worth):
    assert helps(plugin, ClusterEvent(POD, Action.DELETE, build.info(**gone), None), build.info(**pod)) is worth


def test_a_pod_that_is_liked_arrives(build, helps):
    event = ClusterEvent(POD, Action.ADD, None, build.info(on="a", labels={"app": "x"}))
    assert helps("InterPodAffinity", event, build.info(affinity=NEAR))
    assert not helps("InterPodAffinity", event, build.info(affinity=ANTI))


def update_of(build, old, new):
    before, after = build.info(**old), build.info(**new)
    after.uid = before.uid
    return before, ClusterEvent(POD, pod_actions(before, after), before, after)


def test_a_toleration_added_to_the_pod_itself_is_worth_a_try(build, helps):
    pod, event = update_of(build, {}, {"tolerations": [{"operator": "Exists"}]})
    assert helps("TaintToleration", event, pod)
    assert helps("NodeUnschedulable", event, pod)
    assert not helps("TaintToleration", event, build.info())


def test_another_pod_made_smaller_helps_those_that_want_what_it_gave_up(build, helps):
    _, event = update_of(build, {"on": "a", "requests": {"cpu": "2"}}, {"on": "a", "requests": {"cpu": "1"}})
    assert helps("NodeResourcesFit", event, build.info(requests={"cpu": "1"}))
    assert not helps("NodeResourcesFit", event, build.info(requests={"memory": "1Gi"}))


def test_of_an_unknown_plugin_anything_might_help(build, helps):
    assert helps("Extender", ClusterEvent("Anything", Action.UPDATE), build.info())
