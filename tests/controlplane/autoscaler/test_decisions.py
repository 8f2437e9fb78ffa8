"""What the autoscaler decides, without a cluster."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import yaml

from kobune.api.objects.core import Node, Taint
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.autoscaler.balance import are_similar, balance
from kobune.controlplane.autoscaler.drainability import Blocked, evicts_daemon, find_blocking, stays_behind
from kobune.controlplane.autoscaler.expanders import Option, choose
from kobune.controlplane.autoscaler.health import Backoff, Counts, count, expected, is_healthy, late_machines
from kobune.controlplane.autoscaler.model import Group, Settings
from kobune.controlplane.autoscaler.scale_down import Candidate, Kept, Unneeded
from kobune.controlplane.autoscaler.scale_up import not_triggered_text, triggered_text
from kobune.controlplane.autoscaler.status import GroupReport, Transitions, render
from kobune.controlplane.autoscaler.taints import CANDIDATE, plan_marks

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS = Settings()
REPLICA = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": True}]


def node(name="n", *, ready=True, **labels):
    return msgspec.convert(
        {
            "metadata": {"name": name, "labels": labels},
            "status": {
                "capacity": {"cpu": "4", "memory": "8Gi"},
                "conditions": [{"type": "Ready", "status": str(ready)}],
            },
        },
        Node,
    )


def group(name="np1", target=1, *, lowest=0, highest=10, machines=(), **labels):
    return Group(name, node(name, **labels), target, lowest, highest, dict.fromkeys(machines, 0.0))


def pod(name="p", *, namespace="default", owners=REPLICA, annotations=None, labels=None, **spec):
    meta = {"name": name, "namespace": namespace, "uid": name, "labels": labels or {}, "ownerReferences": owners}
    return msgspec.convert({"metadata": meta | {"annotations": annotations or {}}, "spec": spec}, Pod)


def budget(allowed, **labels):
    spec = {"selector": {"matchLabels": labels}}
    meta = {"name": "b", "namespace": "default"}
    return msgspec.convert(
        {"metadata": meta, "spec": spec, "status": {"disruptionsAllowed": allowed}}, PodDisruptionBudget
    )


def option(name, *, nodes=1, pods=1, requested=None):
    there = {"cpu": 4000, "memory": 8}
    return Option(group(name), nodes, tuple(pod(str(each)) for each in range(pods)), requested or {}, there)


def chosen(options, *chain, priorities=None):
    found = choose(options, chain, priorities or {}, random.Random(1))
    return found.group.name if found else None


def test_least_waste_takes_the_fullest_nodes():
    half, full = (
        option("half", requested={"cpu": 2000, "memory": 4}),
        option("full", requested={"cpu": 4000, "memory": 8}),
    )
    assert chosen([half, full], "least-waste") == "full"


def test_most_pods_takes_who_helps_most():
    assert chosen([option("few"), option("many", pods=3)], "most-pods") == "many"


def test_priority_takes_the_highest_pattern_that_fits_and_chance_where_none_does():
    options = [option("spot1"), option("normal")]
    assert chosen(options, "priority", priorities={10: [".*"], 50: ["^spot"]}) == "spot1"
    assert chosen(options, "priority", priorities={10: ["gpu"]}) in ("spot1", "normal")


def test_expanders_in_a_chain_narrow_one_after_the_other():
    options = [option("a", pods=2), option("b", pods=2, requested={"cpu": 4000, "memory": 8}), option("c")]
    assert chosen(options, "most-pods", "least-waste") == "b"


def test_chance_finds_every_option_in_time():
    options, rng = [option("a"), option("b")], random.Random(1)
    assert {choose(options, ["random"], {}, rng).group.name for _ in range(50)} == {"a", "b"}
    assert chosen([], "random") is None


def test_groups_that_differ_in_zone_and_pool_alone_are_similar():
    one, two = node(agentpool="a", **{"topology.kubernetes.io/zone": "1"}), node(agentpool="b")
    assert are_similar(one, two)
    assert not are_similar(one, node(agentpool="a", gpu="yes"))


@pytest.mark.parametrize("targets, more, expected_targets", [
    ((1, 3), 2, {"g0": 3}),
    ((1, 3), 4, {"g0": 4, "g1": 4}),
    ((2, 2), 1, {"g0": 3}),
    ((9, 10), 5, {"g0": 10}),
])  # fmt: skip
def test_similar_groups_are_filled_from_the_smallest(targets, more, expected_targets):
    groups = [group(f"g{number}", target) for number, target in enumerate(targets)]
    assert balance(groups, more) == expected_targets


@pytest.mark.parametrize("settings, one, why", [
    (SETTINGS, pod(), None),
    (SETTINGS, pod(owners=[]), Blocked.NOT_REPLICATED),
    (SETTINGS, pod(owners=[], annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}), None),
    (SETTINGS, pod(annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}), Blocked.NOT_SAFE),
    (SETTINGS, pod(namespace="kube-system"), Blocked.SYSTEM),
    (Settings(skip_nodes_with_system_pods=False), pod(namespace="kube-system"), None),
    (SETTINGS, pod(volumes=[{"name": "v", "emptyDir": {}}]), None),
    (Settings(skip_nodes_with_local_storage=True), pod(volumes=[{"name": "v", "emptyDir": {}}]), Blocked.LOCAL_STORAGE),
    (Settings(skip_nodes_with_local_storage=True), pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
     Blocked.LOCAL_STORAGE),
    (Settings(skip_nodes_with_local_storage=True),
     pod(volumes=[{"name": "v", "emptyDir": {"medium": "Memory"}}]), None),
    (Settings(skip_nodes_with_local_storage=True),
     pod(volumes=[{"name": "v", "emptyDir": {}}],
         annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "v,w"}), None),
])  # fmt: skip
def test_pods_that_keep_their_node(settings, one, why):
    found = find_blocking([one], [], settings)
    assert (found[1] if found else None) == why


def test_a_budget_is_counted_over_all_pods_of_the_node():
    pods = [pod("a", labels={"app": "web"}), pod("b", labels={"app": "web"})]
    assert find_blocking(pods, [budget(2, app="web")], SETTINGS) is None
    assert find_blocking(pods, [budget(1, app="web")], SETTINGS) == (pods[1], Blocked.BUDGET)
    assert find_blocking(pods, [budget(0, app="other")], SETTINGS) is None


def test_daemons_mirrors_and_what_has_ended_or_long_been_ending_need_no_place():
    daemon = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "1", "controller": True}]
    assert stays_behind(pod(owners=daemon), NOW)
    assert stays_behind(pod(annotations={"kubernetes.io/config.mirror": "x"}), NOW)
    ending = pod()
    assert not stays_behind(ending, NOW)
    ending.metadata.deletion_timestamp = NOW - timedelta(seconds=10)
    assert not stays_behind(ending, NOW)
    ending.metadata.deletion_timestamp = NOW - timedelta(seconds=31)
    assert stays_behind(ending, NOW)


def candidate(name, *, pods=0, ready=True, where="np1"):
    return Candidate(name, where, tuple(pod(f"{name}-{each}") for each in range(pods)), ready, 0.1)


def removed(unneeded, candidates, now, *, target=10, lowest=0, settings=SETTINGS):
    found, kept = unneeded.to_remove(candidates, [group(target=target, lowest=lowest)], settings, now)
    return [each.name for each in found], kept


def test_a_node_goes_when_it_was_not_needed_for_long_enough_without_a_break():
    unneeded, one = Unneeded(), candidate("a")
    unneeded.update([one], 0.0)
    assert removed(unneeded, [one], 599.0)[0] == []
    assert removed(unneeded, [one], 600.0)[0] == ["a"]
    unneeded.update([], 650.0)
    unneeded.update([one], 700.0)
    assert removed(unneeded, [one], 1299.0)[0] == []


def test_an_unready_node_waits_longer():
    unneeded, one = Unneeded(), candidate("a", ready=False)
    unneeded.update([one], 0.0)
    assert removed(unneeded, [one], 1199.0)[0] == []
    assert removed(unneeded, [one], 1200.0)[0] == ["a"]


def test_empty_nodes_go_together_and_those_with_pods_one_by_one():
    unneeded = Unneeded()
    empty, full = [candidate(f"e{number}") for number in range(12)], [candidate("f0", pods=1), candidate("f1", pods=1)]
    unneeded.update([*empty, *full], 0.0)
    assert removed(unneeded, [*empty, *full], 600.0, target=20)[0] == [f"e{number}" for number in range(10)]
    assert removed(unneeded, full, 600.0)[0] == ["f0"]


def test_a_group_keeps_its_smallest_size():
    unneeded, both = Unneeded(), [candidate("a"), candidate("b")]
    unneeded.update(both, 0.0)
    assert removed(unneeded, both, 600.0, target=2, lowest=1) == (["a"], {"b": Kept.MIN_SIZE})


def test_machines_are_counted_as_far_as_they_have_come():
    some = Group("np1", node(), 4, 0, 10, {"a": 0.0, "b": 0.0, "c": 500.0, "d": 0.0})
    nodes = {"a": node("a"), "b": node("b", ready=False)}
    counts = count(some, nodes, SETTINGS, 1000.0)
    assert counts == Counts(registered=2, ready=1, unready=1, unregistered=1, long_unregistered=1)
    assert late_machines(some, nodes, SETTINGS, 1000.0) == ["d"]
    assert expected(some, counts) == 1


def test_a_new_node_that_is_not_ready_yet_is_still_on_its_way():
    some = Group("np1", node(), 2, 0, 10, {"a": 0.0, "b": 0.0})
    new = node("b", ready=False)
    new.metadata.creation_timestamp = NOW
    counts = count(some, {"a": node("a"), "b": new}, SETTINGS, NOW.timestamp() + 60)
    assert counts == Counts(registered=2, ready=1, not_started=1)
    assert expected(some, counts) == 1
    later = count(some, {"a": node("a"), "b": new}, SETTINGS, NOW.timestamp() + 900)
    assert (later.unready, expected(some, later)) == (1, 0)


@pytest.mark.parametrize("ready, unready, healthy", [(10, 3, True), (0, 3, True), (5, 4, True), (4, 4, False)])
def test_too_many_unready_nodes_stop_everything(ready, unready, healthy):
    assert is_healthy([Counts(ready + unready, ready, unready)], SETTINGS) is healthy


def test_a_group_that_fails_is_left_alone_ever_longer():
    backoff = Backoff()
    backoff.fail("a", 0.0)
    assert backoff.active(299.0) == {"a"}
    assert backoff.active(300.0) == set()
    backoff.fail("a", 400.0)
    assert backoff.active(999.0) == {"a"}
    backoff.fail("a", 20_000.0)  # Long after: it begins anew.
    assert backoff.active(20_301.0) == set()


def test_messages_are_upstreams():
    assert triggered_text({"a": 1}, {"a": 3}, {"a": 10}) == "pod triggered scale-up: [{a 1->3 (max: 10)}]"
    reasons = Counter({"max node group size reached": 1, "Insufficient cpu": 2})
    assert not_triggered_text(reasons) == (
        "pod didn't trigger scale-up: 2 Insufficient cpu, 1 max node group size reached"
    )


def test_the_status_says_how_groups_are_and_since_when():
    transitions = Transitions()

    def shown(now, state):
        report = GroupReport(group(target=2), Counts(2, 2), state, 1)
        manifest = render({"np1": report}, healthy=True, now=now, shown=now, transitions=transitions)
        return yaml.safe_load(manifest["data"]["status"])

    first, second = shown("t1", "NoActivity"), shown("t2", "InProgress")
    assert first["clusterWide"]["health"]["nodeCounts"]["registered"]["ready"] == 2
    [np1] = second["nodeGroups"]
    assert np1["health"]["status"] == "Healthy"
    assert (np1["health"]["cloudProviderTarget"], np1["health"]["maxSize"]) == (2, 10)
    assert np1["health"]["lastTransitionTime"] == "t1"
    assert np1["scaleUp"] == {"status": "InProgress", "lastProbeTime": "t2", "lastTransitionTime": "t2"}
    assert np1["scaleDown"]["status"] == "CandidatesPresent"


def marked(name):
    found = node(name)
    found.spec.taints = [Taint(CANDIDATE, "PreferNoSchedule", "1")]
    return found


def test_candidates_are_marked_a_few_at_a_time_and_those_needed_again_come_first():
    nodes = {"needed": marked("needed"), "still": marked("still"), "foreign": marked("foreign")}
    nodes |= {f"n{number:02}": node() for number in range(12)}
    candidates = ["still", "gone", *(name for name in nodes if name.startswith("n") and name != "needed")]
    marks = plan_marks(nodes, candidates, ["needed", "still"])
    assert marks.drop == ["needed"]
    assert marks.add == [f"n{number:02}" for number in range(9)]


@pytest.mark.parametrize(
    "own, usual, evicted", [("", True, True), ("", False, False), ("true", False, True), ("false", True, False)]
)
def test_a_daemons_pod_may_say_itself_whether_it_is_evicted(own, usual, evicted):
    annotations = {"cluster-autoscaler.kubernetes.io/enable-ds-eviction": own} if own else {}
    assert evicts_daemon(pod(annotations=annotations), by_default=usual) is evicted


def test_the_status_tells_of_nodes_on_their_way_out_and_why_a_group_rests():
    report = GroupReport(group(), Counts(2, 1), "Backoff", 0, leaving=1)
    manifest = render({"np1": report}, healthy=True, now="t", shown="t", transitions=Transitions())
    [np1] = yaml.safe_load(manifest["data"]["status"])["nodeGroups"]
    assert np1["health"]["nodeCounts"]["registered"]["beingDeleted"] == 1
    assert np1["scaleUp"]["backoffInfo"]["errorMessage"] == "Scale-up timed out for node group np1"
