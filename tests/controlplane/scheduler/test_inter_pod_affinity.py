"""InterPodAffinity from Kubernetes documentation, Inter-pod affinity and anti-affinity, and a slow obvious version."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler import views
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.plugins.inter_pod_affinity import InterPodAffinity

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def term(app="db", key=ZONE, **more):
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}, **more}


def required(*terms, anti=False):
    return {
        "podAntiAffinity" if anti else "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}
    }


def preferred(weight, one, *, anti=False):
    weighted = [{"weight": weight, "podAffinityTerm": one}]
    return {"podAntiAffinity" if anti else "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}


def world(build, *pods):
    """Nodes a1 and a2 in zone a, b1 in zone b, and `bare` in none."""
    nodes = [build.node(name, labels={ZONE: name[0]}) for name in ("a1", "a2", "b1")]
    return build.table(*nodes, build.node("bare"), pods=pods)


def accepted(pod, table, plugin=None):
    mask = (plugin or InterPodAffinity(Listers())).filter(pod, table, table.rows)
    return {name for name, row in table.row_of.items() if mask[row]}


def reason(pod, table, name):
    row = table.row_of[name]
    return [(one.text, one.resolvable) for one in InterPodAffinity(Listers()).explain(pod, table) if one.rows[row]]


ALL = {"a1", "a2", "b1", "bare"}


@pytest.mark.parametrize(
    ("affinity", "expected"),
    [
        pytest.param(required(term()), {"a1", "a2"}, id="near-is-in-the-same-domain"),
        pytest.param(required(term(key=HOST)), {"a1"}, id="which-may-be-one-host"),
        pytest.param(required(term("none")), set(), id="near-nobody-is-nowhere"),
        pytest.param(required(term(), anti=True), {"b1", "bare"}, id="away-includes-nodes-outside-every-domain"),
        pytest.param(required(term("db"), term("web")), set(), id="one-pod-must-meet-every-term"),
        pytest.param(required(term("db"), {"topologyKey": HOST, "labelSelector": {}}), {"a1"}, id="as-this-one-does"),
    ],
)
def test_required_terms(build, affinity, expected):
    table = world(build, build.info(on="a1", labels={"app": "db"}), build.info(on="b1", labels={"app": "web"}))
    assert accepted(build.info(affinity=affinity), table) == expected


def test_the_first_pod_of_a_group_that_likes_itself_may_go_to_any_labelled_node(build):
    pod = build.info(labels={"app": "db"}, affinity=required(term()))
    assert accepted(pod, world(build)) == {"a1", "a2", "b1"}
    assert reason(pod, world(build), "bare") == [("node(s) didn't match pod affinity rules", False)]


def test_placed_pods_keep_others_away(build):
    guard = build.info(on="a1", affinity=required(term("web"), anti=True))
    pod = build.info(labels={"app": "web"})
    assert accepted(pod, world(build, guard)) == {"b1", "bare"}
    assert reason(pod, world(build, guard), "a2") == [
        ("node(s) didn't satisfy existing pods anti-affinity rules", True)
    ]
    assert not InterPodAffinity(Listers()).applies(build.info(labels={"app": "db"}), world(build, guard))


def test_anti_affinity_is_named_as_upstream_does(build):
    table = world(build, build.info(on="a1", labels={"app": "db"}))
    pod = build.info(affinity=required(term(), anti=True))
    assert reason(pod, table, "a2") == [("node(s) didn't match pod anti-affinity rules", True)]


def namespaces(**labels):
    return {
        Key("", name): msgspec.convert({"metadata": {"name": name, "labels": own}}, views.Namespace)
        for name, own in labels.items()
    }


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        pytest.param({}, ALL, id="the-pods-own-namespace-by-default"),
        pytest.param({"namespaces": ["other"]}, {"b1", "bare"}, id="listed-namespaces"),
        pytest.param({"namespaceSelector": {}}, {"b1", "bare"}, id="all-namespaces"),
        pytest.param({"namespaceSelector": {"matchLabels": {"team": "x"}}}, {"b1", "bare"}, id="by-their-labels"),
        pytest.param({"namespaceSelector": {"matchLabels": {"team": "y"}}}, ALL, id="whose-labels-do-not-match"),
    ],
)
def test_namespaces(build, scope, expected):
    listers = Listers(namespaces=namespaces(other={"team": "x"}, default={"team": "y"}))
    table = world(build, build.info(on="a1", namespace="other", labels={"app": "db"}))
    pod = build.info(affinity=required(term(**scope), anti=True))
    assert accepted(pod, table, InterPodAffinity(listers)) == expected


def test_a_placed_pods_namespace_selector_is_judged_by_the_new_pods_namespace(build):
    listers = Listers(namespaces=namespaces(default={"team": "x"}))
    guard = build.info(
        on="a1",
        namespace="other",
        affinity=required(term("web", namespaceSelector={"matchLabels": {"team": "x"}}), anti=True),
    )
    assert accepted(build.info(labels={"app": "web"}), world(build, guard), InterPodAffinity(listers)) == {"b1", "bare"}


def test_match_label_keys(build):
    """The pod keeps away from pods of its own revision only; mismatchLabelKeys would be the others."""
    table = world(build, build.info(on="a1", labels={"app": "db", "rev": "1"}))
    pod = {"labels": {"app": "db", "rev": "2"}}
    assert accepted(build.info(**pod, affinity=required(term(matchLabelKeys=["rev"]), anti=True)), table) == ALL
    mismatch = build.info(**pod, affinity=required(term(mismatchLabelKeys=["rev"]), anti=True))
    assert accepted(mismatch, table) == {"b1", "bare"}


def scores(pod, table, plugin=None):
    ranked = (plugin or InterPodAffinity(Listers())).rank(pod, table, table.exists[table.rows])
    return None if ranked is None else {name: int(ranked[row]) for name, row in table.row_of.items()}


def test_preferences_add_up_and_are_spread_from_0_to_100(build):
    table = world(build, build.info(on="a1", labels={"app": "db"}), build.info(on="b1", labels={"app": "noisy"}))
    affinity = preferred(80, term()) | preferred(20, term("noisy"), anti=True)
    assert scores(build.info(affinity=affinity), table) == {"a1": 100, "a2": 100, "b1": 0, "bare": 20}


def test_placed_pods_preferences_count_for_pods_that_have_none(build):
    table = world(build, build.info(on="a1", affinity=preferred(10, term("web"))))
    assert scores(build.info(labels={"app": "web"}), table) == {"a1": 100, "a2": 100, "b1": 0, "bare": 0}
    assert scores(build.info(labels={"app": "web"}), table, InterPodAffinity(Listers(), ignore_existing=True)) is None


def test_a_placed_pods_required_affinity_draws_the_pods_it_means(build):
    table = world(build, build.info(on="b1", affinity=required(term("web"))))
    assert scores(build.info(labels={"app": "web"}), table) == {"a1": 0, "a2": 0, "b1": 100, "bare": 0}
    assert scores(build.info(labels={"app": "web"}), table, InterPodAffinity(Listers(), hard_weight=0)) is None


# The slow, obvious version.


def slow(pod, table):
    """(mask, raw scores) by looking at every pod for every node."""
    placed = list(table.all_pods())
    mask, raw = np.ones(table.size, dtype=bool), np.zeros(table.size, dtype=int)

    def same(row, other, key):
        here, there = table.value(key, row), table.value(key, other)
        return here is not None and here == there

    wanted, unwanted = pod.shape.terms_of("required affinity"), pod.shape.terms_of("required anti-affinity")
    liked = [row for row, one in placed if wanted and all(each.means(one.shape.group, {}) for each in wanted)]
    anywhere = any(table.value(each.topology_key, row) is not None for row in liked for each in wanted)
    for row in range(table.size):
        for each in wanted:
            alone = not anywhere and all(other.means(pod.shape.group, {}) for other in wanted)
            near = any(same(row, other, each.topology_key) for other in liked)
            if table.value(each.topology_key, row) is None or not (near or alone):
                mask[row] = False
        for other, one in placed:
            for each in unwanted:
                if each.means(one.shape.group, {}) and same(row, other, each.topology_key):
                    mask[row] = False
            for each in one.shape.terms:
                if not (each.means(pod.shape.group, {}) and same(row, other, each.topology_key)):
                    continue
                if each.kind == "required anti-affinity":
                    mask[row] = False
                raw[row] += {"required affinity": 1, "preferred affinity": each.weight}.get(each.kind, 0)
                raw[row] -= each.weight if each.kind == "preferred anti-affinity" else 0
            for each in pod.shape.terms:
                if each.weight and each.means(one.shape.group, {}) and same(row, other, each.topology_key):
                    raw[row] += each.weight if each.kind == "preferred affinity" else -each.weight
    return mask, raw


TERM = st.tuples(st.sampled_from(["web", "db"]), st.sampled_from([ZONE, HOST]))
SHAPE = st.tuples(
    st.sampled_from(["web", "db"]), st.sampled_from(["default", "other"]), st.lists(TERM, max_size=2),
    st.sampled_from(["affinity", "anti", "prefer", "prefer not", "none"]),
)  # fmt: skip


def affinity_of(how, terms):
    written = [term(app, key) for app, key in terms]
    if how == "none" or not terms:
        return None
    if how.startswith("prefer"):
        return preferred(7, written[0], anti=how == "prefer not")
    return required(*written, anti=how == "anti")


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=6), st.lists(st.tuples(SHAPE, st.integers(0, 5)), max_size=12),
    SHAPE,
)  # fmt: skip
def test_filter_and_scores_agree_with_a_look_at_every_pod_for_every_node(build, zones, placed, wanted):
    def info(shape, on=""):
        app, namespace, terms, how = shape
        return build.info(on=on, labels={"app": app}, namespace=namespace, affinity=affinity_of(how, terms))

    nodes = [build.node(f"n{index}", labels={ZONE: zone} if zone else {}) for index, zone in enumerate(zones)]
    table = build.table(*nodes, pods=[info(shape, f"n{where % len(nodes)}") for shape, where in placed])
    pod, plugin = info(wanted), InterPodAffinity(Listers())
    mask, raw = slow(pod, table)
    assert np.array_equal(plugin.filter(pod, table, table.rows), mask)
    everywhere = table.exists[table.rows]
    ranked = plugin.rank(pod, table, everywhere)
    among = raw[everywhere]
    spread = among.max() - among.min()
    expected = (100.0 * ((raw - among.min()) / float(spread))).astype(int) if spread else np.zeros_like(raw)
    assert np.array_equal(np.zeros(table.size, dtype=int) if ranked is None else ranked, expected)
