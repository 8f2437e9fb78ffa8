"""PodTopologySpread from Kubernetes documentation, Pod Topology Spread Constraints, and held against a slow obvious version."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler import views
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import find_untolerated
from kobune.controlplane.scheduler.plugins.pod_topology_spread import PodTopologySpread

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
WEB = {"matchLabels": {"app": "web"}}
MISMATCH = "node(s) didn't match pod topology spread constraints"


def constraint(key=ZONE, skew=1, hard=True, selector=WEB, **more):
    when = "DoNotSchedule" if hard else "ScheduleAnyway"
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector, **more}


def web(build, on="", *constraints, **fields):
    return build.info(on=on, labels={"app": "web"}, topologySpreadConstraints=list(constraints), **fields)


def zones(build, **counts):
    """A table with one node per zone, and so many web pods on it."""
    nodes = [build.node(f"node-{zone}", labels={ZONE: zone}) for zone in counts]
    return build.table(
        *nodes, pods=[web(build, f"node-{zone}") for zone, count in counts.items() for _ in range(count)]
    )


def accepted(pod, table, plugin=None):
    mask = (plugin or PodTopologySpread(Listers())).filter(pod, table, table.rows)
    return {name for name, row in table.row_of.items() if mask[row]}


@pytest.mark.parametrize(
    ("counts", "rule", "expected"),
    [
        pytest.param({"a": 2, "b": 1}, constraint(), {"node-b"}, id="the-skew-may-not-grow-past-its-maximum"),
        pytest.param({"a": 2, "b": 1}, constraint(skew=2), {"node-a", "node-b"}, id="a-larger-maximum"),
        pytest.param({"a": 1, "b": 1}, constraint(), {"node-a", "node-b"}, id="even"),
        pytest.param(
            {"a": 2, "b": 0}, constraint(selector={"matchLabels": {"app": "db"}}), {"node-a", "node-b"}, id="others"
        ),
        pytest.param({"a": 1, "b": 1}, constraint(minDomains=3), set(), id="too-few-domains-make-the-minimum-zero"),
        pytest.param(
            {"a": 0, "b": 0}, constraint(minDomains=3), {"node-a", "node-b"}, id="which-an-empty-domain-satisfies"
        ),
    ],
)
def test_skew(build, counts, rule, expected):
    assert accepted(web(build, "", rule), zones(build, **counts)) == expected


def test_nodes_without_the_label_are_refused_in_words_of_their_own(build):
    table = build.table(
        build.node("a", labels={ZONE: "z"}), build.node("bare"), pods=[web(build, "a"), web(build, "bare")]
    )
    pod, plugin = web(build, "", constraint()), PodTopologySpread(Listers())
    assert accepted(pod, table) == {"a"}
    texts = {(one.text, one.resolvable) for one in plugin.explain(pod, table) if one.rows[table.row_of["bare"]]}
    assert texts == {(f"{MISMATCH} (missing required label)", False)}


def test_pods_being_deleted_do_not_count(build):
    leaving = [web(build, "node-a", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}) for _ in range(3)]
    table = zones(build, a=0, b=0)
    for pod in leaving:
        table.add_pod(pod, "node-a")
    assert accepted(web(build, "", constraint()), table) == {"node-a", "node-b"}


def test_pods_of_other_namespaces_do_not_count(build):
    table = zones(build, a=0, b=0)
    table.add_pod(web(build, "node-a", namespace="other"), "node-a")
    assert accepted(web(build, "", constraint()), table) == {"node-a", "node-b"}


def test_match_label_keys_narrow_the_selector_to_the_pods_own_revision(build):
    table = zones(build, a=1, b=0)
    pod = build.info(
        labels={"app": "web", "rev": "2"}, topologySpreadConstraints=[constraint(matchLabelKeys=["rev", "absent"])]
    )
    assert accepted(pod, table) == {"node-a", "node-b"}


@pytest.mark.parametrize(
    ("policy", "fits"),
    [
        pytest.param("Honor", True, id="nodes-out-of-reach-do-not-count"),
        pytest.param("Ignore", False, id="unless-affinity-is-ignored"),
    ],
)
def test_node_affinity_policy(build, policy, fits):
    """Zones b and c have no pods, but the pod may not go there anyway."""
    pod = web(build, "", constraint(nodeAffinityPolicy=policy), nodeSelector={ZONE: "a"})
    assert ("node-a" in accepted(pod, zones(build, a=1, b=0, c=0))) is fits


def test_taints_count_only_when_asked(build):
    taints = [{"key": "k", "effect": "NoSchedule"}]
    table = build.table(
        build.node("a", labels={ZONE: "a"}), build.node("b", labels={ZONE: "b"}, taints=taints), pods=[web(build, "a")]
    )
    assert "a" not in accepted(web(build, "", constraint()), table)
    assert "a" in accepted(web(build, "", constraint(nodeTaintsPolicy="Honor")), table)


def test_soft_constraints_prefer_the_emptier_domain(build):
    table = zones(build, a=4, b=1, c=0)
    plugin = PodTopologySpread(Listers())
    scores = plugin.rank(web(build, "", constraint(hard=False)), table, table.exists[table.rows])
    assert {name: int(scores[row]) for name, row in table.row_of.items()} == {"node-a": 0, "node-b": 66, "node-c": 100}


def owned(build, **fields):
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": True}
    return build.info(labels={"app": "web"}, metadata={"ownerReferences": [owner]}, **fields)


def test_pods_without_constraints_are_spread_softly_over_hosts_and_zones(build):
    replica_set = msgspec.convert({"metadata": {"name": "web"}, "spec": {"selector": WEB}}, views.ReplicaSet)
    listers = Listers(replica_sets={Key("default", "web"): replica_set})
    plugin, table = PodTopologySpread(listers), zones(build, a=4, b=0)
    assert not plugin.concerns(owned(build))
    scores = plugin.rank(owned(build), table, table.exists[table.rows])
    assert scores[table.row_of["node-b"]] > scores[table.row_of["node-a"]]
    assert plugin.rank(build.info(labels={"app": "web"}), table, table.exists[table.rows]) is None


def test_services_say_which_pods_belong_together_too(build):
    service = msgspec.convert({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}}, views.Service)
    plugin, table = PodTopologySpread(Listers(services={Key("default", "web"): service})), zones(build, a=4, b=0)
    assert plugin.rank(build.info(labels={"app": "web"}), table, table.exists[table.rows]) is not None


# The slow, obvious version: one node at a time, counting pods anew for each.


def slow_filter(pod, table):
    mask = np.ones(table.size, dtype=bool)
    hard = [one for one in pod.shape.spread if one.hard]
    nodes = {row: node for row, node in enumerate(table.nodes) if node is not None}
    for one in hard:
        counts = {}
        for row, node in nodes.items():
            labels = node.metadata.labels
            if not all(other.topology_key in labels for other in hard):
                continue
            if one.honor_node_affinity and not pod.shape.required_nodes.accepts(node):
                continue
            if one.honor_taints and find_untolerated(node.spec.taints, pod.shape.tolerations):
                continue
            counts.setdefault(labels[one.topology_key], 0)
            counts[labels[one.topology_key]] += slow_count(one, pod, table, row)
        least = min(counts.values(), default=0) if len(counts) >= one.min_domains else 0
        for row in range(table.size):
            value = table.value(one.topology_key, row)
            own = one.selector.matches(pod.shape.labels)
            if value is None or counts.get(value, 0) + own - least > one.max_skew:
                mask[row] = False
    return mask


def slow_count(one, pod, table, row):
    if one.selector.is_everything:
        return 0
    return sum(
        other.shape.namespace == pod.shape.namespace and not other.deleting and one.selector.matches(other.shape.labels)
        for other in table.pods[row].values()
    )


def slow_scores(pod, table, feasible):
    soft = [one for one in pod.shape.spread if not one.hard]
    nodes = {row: node for row, node in enumerate(table.nodes) if node is not None}
    labelled = {row for row, node in nodes.items() if all(one.topology_key in node.metadata.labels for one in soft)}
    scored = [row for row in range(table.size) if feasible[row] and row in labelled]
    raw = dict.fromkeys(scored, 0.0)
    for one in soft:
        values = {table.value(one.topology_key, row) for row in scored}
        weight = math.log((len(scored) if one.topology_key == HOST else len(values)) + 2)
        for row in scored:
            value = table.value(one.topology_key, row)
            if one.topology_key == HOST:
                count = slow_count(one, pod, table, row)
            else:
                count = sum(
                    slow_count(one, pod, table, other)
                    for other in labelled
                    if table.value(one.topology_key, other) == value and pod.shape.required_nodes.accepts(nodes[other])
                )
            raw[row] += count * weight + one.max_skew - 1
    rounded = {row: math.floor(score + 0.5) for row, score in raw.items()}
    low, high = min(rounded.values(), default=0), max(rounded.values(), default=0)
    return {row: 100 if high == 0 else 100 * (high + low - score) // high for row, score in rounded.items()}


NODES = st.lists(
    st.tuples(st.sampled_from([None, "a", "b", "c"]), st.booleans(), st.sampled_from([None, "x", "y"])),
    min_size=1,
    max_size=8,
)
PODS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["web", "db"]), st.booleans()), max_size=20)
RULES = st.lists(
    st.tuples(st.sampled_from([ZONE, HOST, "rack"]), st.integers(1, 3), st.booleans(), st.integers(1, 3), st.booleans()),
    min_size=1, max_size=3, unique_by=lambda rule: (rule[0], rule[2]),
)  # fmt: skip


@settings(max_examples=30)
@given(NODES, PODS, RULES, st.booleans())
def test_filter_and_scores_agree_with_a_count_node_by_node(build, nodes, pods, rules, picky):
    made = [
        build.node(
            f"n{index}",
            labels=({ZONE: zone} if zone else {}) | ({"rack": rack} if rack else {}),
            taints=[{"key": "k", "effect": "NoSchedule"}] if tainted else [],
        )
        for index, (zone, tainted, rack) in enumerate(nodes)
    ]
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    placed = [
        build.info(on=f"n{where % len(nodes)}", labels={"app": app}, metadata=gone if leaving else {})
        for where, app, leaving in pods
    ]
    table = build.table(*made, pods=placed)
    written = [
        constraint(
            key, skew, hard, **({"minDomains": least} if hard else {}), nodeTaintsPolicy="Honor" if honor else "Ignore"
        )
        for key, skew, hard, least, honor in rules
    ]
    selector = {"nodeSelector": {ZONE: "a"}} if picky else {}
    pod = web(build, "", *written, **selector)
    plugin = PodTopologySpread(Listers())
    mask = plugin.filter(pod, table, table.rows)
    assert np.array_equal(mask, slow_filter(pod, table))
    if any(not one.hard for one in pod.shape.spread) and not any(one.honor_taints for one in pod.shape.spread):
        scores = plugin.rank(pod, table, mask)
        for row, score in slow_scores(pod, table, mask).items():
            assert scores[row] == score
