"""The plugins that look at one node at a time, from their documented semantics.

Kubernetes documentation: Assigning Pods to Nodes; Taints and Tolerations; Manual Node administration (cordon);
Resource Bin Packing. Upstream pkg/scheduler/framework/plugins/{nodename,nodeunschedulable,tainttoleration,nodeaffinity,
nodeports,noderesources,imagelocality}.
"""

import pytest

from kobune.controlplane.scheduler.node_rules import NodeTerm, compile_labels
from kobune.controlplane.scheduler.plugins.image_locality import ImageLocality
from kobune.controlplane.scheduler.plugins.node_affinity import NodeAffinity
from kobune.controlplane.scheduler.plugins.node_name import NodeName
from kobune.controlplane.scheduler.plugins.node_ports import NodePorts
from kobune.controlplane.scheduler.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from kobune.controlplane.scheduler.plugins.node_resources_fit import NodeResourcesFit
from kobune.controlplane.scheduler.plugins.node_unschedulable import NodeUnschedulable
from kobune.controlplane.scheduler.plugins.resource_strategies import (
    CPU_AND_MEMORY,
    ResourceWeight,
    most_allocated,
    requested_to_capacity_ratio,
)
from kobune.controlplane.scheduler.plugins.taint_toleration import TaintToleration
from kobune.controlplane.scheduler.pod_info import new_shape


def accepted(plugin, pod, table):
    """The names of the nodes that the plugin accepts."""
    if not plugin.concerns(pod):
        return set(table.row_of)
    mask = plugin.filter(pod, table, table.rows)
    return {name for name, row in table.row_of.items() if mask[row]}


def reasons(plugin, pod, table):
    """Text to nodes, for every refused node."""
    passes = plugin.filter(pod, table, table.rows)
    found = {}
    for reason in plugin.explain(pod, table):
        names = {name for name, row in table.row_of.items() if reason.rows[row] and not passes[row]}
        if names:
            found[reason.text, reason.resolvable] = names
    return found


def scores(plugin, pod, table):
    raw = plugin.score(pod, table, table.rows)
    final = plugin.normalize(raw, table.exists[table.rows]) if hasattr(plugin, "normalize") else raw
    return {name: int(final[row]) for name, row in table.row_of.items()}


def test_a_pod_that_names_its_node_goes_nowhere_else(build):
    table = build.table(build.node("a"), build.node("b"))
    pod = build.info()
    pod.shape = new_shape(pod.pod, pod.shape.group, node_name="b")
    assert accepted(NodeName(), pod, table) == {"b"}
    assert reasons(NodeName(), pod, table) == {("node(s) didn't match the requested node name", False): {"a"}}


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        pytest.param([], {"open"}, id="a-cordoned-node-takes-none"),
        pytest.param(
            [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}],
            {"open", "cordoned"},
            id="except-a-pod-that-tolerates-it",
        ),
        pytest.param([{"operator": "Exists"}], {"open", "cordoned"}, id="or-tolerates-everything"),
    ],
)
def test_node_unschedulable(build, tolerations, expected):
    table = build.table(build.node("open"), build.node("cordoned", unschedulable=True))
    assert accepted(NodeUnschedulable(), build.info(tolerations=tolerations), table) == expected


TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        pytest.param(
            {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}, True, id="equal"
        ),
        pytest.param(
            {"key": "dedicated", "value": "gpu"}, True, id="equal-is-the-default-and-no-effect-is-every-effect"
        ),
        pytest.param({"key": "dedicated", "value": "web"}, False, id="another-value"),
        pytest.param({"key": "dedicated", "operator": "Exists"}, True, id="exists-needs-no-value"),
        pytest.param({"key": "other", "operator": "Exists"}, False, id="another-key"),
        pytest.param({"operator": "Exists"}, True, id="no-key-with-exists-is-every-key"),
        pytest.param({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False, id="another-effect"),
    ],
)
def test_taint_toleration(build, toleration, tolerated):
    table = build.table(build.node("tainted", taints=[TAINT]))
    pod = build.info(tolerations=[toleration])
    assert bool(accepted(TaintToleration(), pod, table)) is tolerated


def test_untolerated_taints_are_named_as_upstream_does(build):
    table = build.table(build.node("a", taints=[TAINT]), build.node("b", taints=[{"key": "x", "effect": "NoExecute"}]))
    assert reasons(TaintToleration(), build.info(), table) == {("node(s) had untolerated taint(s)", False): {"a", "b"}}


def test_nodes_with_fewer_soft_taints_are_preferred(build):
    soft = [{"key": key, "effect": "PreferNoSchedule"} for key in "abcd"]
    table = build.table(build.node("none"), build.node("one", taints=soft[:1]), build.node("four", taints=soft))
    pod = build.info(tolerations=[{"key": "d", "operator": "Exists"}])
    assert accepted(TaintToleration(), pod, table) == {"none", "one", "four"}
    assert scores(TaintToleration(), pod, table) == {"none": 100, "one": 67, "four": 0}


def affinity(*terms, preferred=()):
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}} if terms else {}
    return {"nodeAffinity": {**required, "preferredDuringSchedulingIgnoredDuringExecution": list(preferred)}}


def expression(key, operator, *values):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def field(operator, *names):
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": list(names)}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"nodeSelector": {"zone": "z1"}}, {"a"}, id="node-selector"),
        pytest.param({"nodeSelector": {"zone": "z1", "disk": "ssd"}}, set(), id="every-label-of-it"),
        pytest.param({"affinity": affinity(expression("zone", "In", "z1", "z3"))}, {"a", "c"}, id="in"),
        pytest.param({"affinity": affinity(expression("zone", "NotIn", "z1"))}, {"b", "c", "d"}, id="not-in-or-absent"),
        pytest.param({"affinity": affinity(expression("zone", "Exists"))}, {"a", "b", "c"}, id="exists"),
        pytest.param({"affinity": affinity(expression("zone", "DoesNotExist"))}, {"d"}, id="does-not-exist"),
        pytest.param({"affinity": affinity(expression("cores", "Gt", "4"))}, {"b"}, id="greater-as-integers"),
        pytest.param({"affinity": affinity(expression("cores", "Lt", "5"))}, {"a"}, id="a-word-is-no-integer"),
        pytest.param(
            {"affinity": affinity(expression("zone", "In", "z1"), expression("zone", "In", "z2"))},
            {"a", "b"},
            id="terms-are-alternatives",
        ),
        pytest.param({"affinity": affinity({})}, set(), id="an-empty-term-matches-nothing"),
        pytest.param(
            {"nodeSelector": {"disk": "ssd"}, "affinity": affinity(expression("zone", "In", "z1"))},
            set(),
            id="selector-and-affinity-must-both-hold",
        ),
        pytest.param({"affinity": affinity(field("In", "c"))}, {"c"}, id="by-name"),
        pytest.param({"affinity": affinity(field("NotIn", "c"))}, {"a", "b", "d"}, id="not-by-name"),
    ],
)
def test_node_affinity(build, spec, expected):
    table = build.table(
        build.node("a", labels={"zone": "z1", "cores": "4"}),
        build.node("b", labels={"zone": "z2", "cores": "16", "disk": "ssd"}),
        build.node("c", labels={"zone": "z3", "cores": "many"}),
        build.node("d"),
    )
    assert accepted(NodeAffinity(), build.info(**spec), table) == expected


def test_terms_that_name_two_nodes_at_once_are_refused_before_nodes_are_looked_at(build):
    both = {"matchFields": [*field("In", "a")["matchFields"], *field("In", "b")["matchFields"]]}
    pod = build.info(affinity=affinity(both))
    assert NodeAffinity().refuse(pod, build.table(build.node("a"))).text == "pod affinity terms conflict"


def test_preferred_terms_add_their_weights(build):
    preferred = [
        {"weight": 10, "preference": expression("zone", "In", "z1")},
        {"weight": 30, "preference": expression("disk", "Exists")},
    ]
    table = build.table(
        build.node("both", labels={"zone": "z1", "disk": "ssd"}),
        build.node("one", labels={"zone": "z1"}),
        build.node("0"),
    )
    pod = build.info(affinity=affinity(preferred=preferred))
    assert scores(NodeAffinity(), pod, table) == {"both": 100, "one": 25, "0": 0}


def test_a_profile_may_add_an_affinity_to_every_pod(build):
    plugin = NodeAffinity(added_terms=[NodeTerm(compile_labels({"pool": "user"}))])
    table = build.table(build.node("user", labels={"pool": "user"}), build.node("system"))
    pod = build.info(nodeSelector={"zone": "z"})
    assert reasons(plugin, pod, table) == {
        ("node(s) didn't match scheduler-enforced node affinity", False): {"system"},
        ("node(s) didn't match Pod's node affinity/selector", False): {"user"},
    }


@pytest.mark.parametrize(
    ("used", "wanted", "fits"),
    [
        pytest.param({"hostPort": 80}, {"hostPort": 81}, True, id="another-port"),
        pytest.param({"hostPort": 80}, {"hostPort": 80}, False, id="the-same-port"),
        pytest.param({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True, id="another-protocol"),
        pytest.param(
            {"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80, "hostIP": "127.0.0.2"}, True, id="another-address"
        ),
        pytest.param(
            {"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80}, False, id="every-address-includes-that-one"
        ),
    ],
)
def test_node_ports(build, used, wanted, fits):
    container = {"containerPort": 8080}
    table = build.table(build.node("a"), pods=[build.info(on="a", ports=[container | used])])
    pod = build.info(ports=[container | wanted])
    assert bool(accepted(NodePorts(), pod, table)) is fits


def test_a_port_is_free_again_when_its_pod_has_gone(build):
    holder = build.info(on="a", ports=[{"containerPort": 80, "hostPort": 80}])
    table = build.table(build.node("a"), pods=[holder])
    table.remove_pod(holder.uid, "a")
    assert accepted(NodePorts(), build.info(ports=[{"containerPort": 80, "hostPort": 80}]), table) == {"a"}


@pytest.mark.parametrize(
    ("requests", "used", "expected"),
    [
        pytest.param({"cpu": "2"}, {"cpu": "2"}, {}, id="exactly-full"),
        pytest.param({"cpu": "2001m"}, {"cpu": "2"}, {("Insufficient cpu", True): {"a"}}, id="too-little-left"),
        pytest.param({"cpu": "5"}, {"cpu": "2"}, {("Insufficient cpu", False): {"a"}}, id="never-even-when-empty"),
        pytest.param(
            {"cpu": "3", "memory": "9Gi"},
            {"cpu": "2", "memory": "8Gi"},
            {("Insufficient cpu", True): {"a"}, ("Insufficient memory", True): {"a"}},
            id="each-resource-is-named",
        ),
        pytest.param(
            {"example.com/gpu": "1"}, {"cpu": "1"}, {("Insufficient example.com/gpu", False): {"a"}}, id="extended"
        ),
        pytest.param({}, {"cpu": "9"}, {}, id="who-asks-for-nothing-fits-on-a-full-node"),
        pytest.param(
            {"memory": "1Gi"}, {"cpu": "9"}, {}, id="an-overcommitted-resource-that-is-not-asked-for-does-not-matter"
        ),
    ],
)
def test_node_resources_fit(build, requests, used, expected):
    table = build.table(build.node("a", cpu="4", memory="16Gi"), pods=[build.info(on="a", requests=used)])
    pod = build.info(requests=requests)
    assert reasons(NodeResourcesFit(), pod, table) == expected
    assert bool(accepted(NodeResourcesFit(), pod, table)) is (not expected)


def test_a_node_takes_only_so_many_pods(build):
    table = build.table(build.node("a", pods=1), pods=[build.info(on="a")])
    assert reasons(NodeResourcesFit(), build.info(), table) == {("Too many pods", True): {"a"}}


def test_ignored_extended_resources_are_somebody_elses_business(build):
    table = build.table(build.node("a"))
    pod = build.info(requests={"example.com/gpu": "1", "other.io/x": "1"})
    plugin = NodeResourcesFit(ignored=["other.io/x"], ignored_groups=["example.com"])
    assert accepted(plugin, pod, table) == {"a"}


@pytest.mark.parametrize(
    ("strategy", "resources", "expected"),
    [
        pytest.param(None, CPU_AND_MEMORY, {"empty": 62, "half": 37}, id="least-allocated-prefers-the-emptier"),
        pytest.param(most_allocated, CPU_AND_MEMORY, {"empty": 37, "half": 62}, id="most-allocated-the-fuller"),
        pytest.param(
            most_allocated, (ResourceWeight("cpu", 3), ResourceWeight("memory", 1)), {"empty": 43, "half": 68},
            id="weights",
        ),
        pytest.param(
            requested_to_capacity_ratio([(0, 0), (100, 10)]), CPU_AND_MEMORY, {"empty": 38, "half": 63}, id="a-rising-line"
        ),
        pytest.param(
            requested_to_capacity_ratio([(0, 10), (100, 0)]), CPU_AND_MEMORY, {"empty": 63, "half": 38}, id="a-falling-one"
        ),
    ],
)  # fmt: skip
def test_scoring_strategies(build, strategy, resources, expected):
    """The pod takes 1/2 of a node's cpu and 1/4 of its memory; on `half` a quarter of both is in use."""
    table = build.table(
        build.node("empty", cpu="4", memory="16Gi"),
        build.node("half", cpu="4", memory="16Gi"),
        pods=[build.info(on="half", requests={"cpu": "1", "memory": "4Gi"})],
    )
    plugin = NodeResourcesFit(resources=resources, **({"strategy": strategy} if strategy else {}))
    assert scores(plugin, build.info(requests={"cpu": "2", "memory": "4Gi"}), table) == expected


def test_extended_resources_score_only_for_pods_that_ask_for_them(build):
    plugin = NodeResourcesFit(strategy=most_allocated, resources=[ResourceWeight("example.com/gpu", 1)])
    table = build.table(
        build.node("a", more={"example.com/gpu": "4"}),
        build.node("b", more={"example.com/gpu": "4"}),
        pods=[build.info(on="a", requests={"example.com/gpu": "1"})],
    )
    assert scores(plugin, build.info(requests={"example.com/gpu": "1"}), table) == {"a": 50, "b": 25}
    assert scores(plugin, build.info(requests={"cpu": "1"}), table) == {"a": 0, "b": 0}


def test_balanced_allocation_prefers_the_node_that_the_pod_brings_into_balance(build):
    """Upstream balancedResourceScorer: 50 + (50 + after - before) / 2."""
    table = build.table(
        build.node("cpu-heavy", cpu="4", memory="16Gi"),
        build.node("even", cpu="4", memory="16Gi"),
        pods=[build.info(on="cpu-heavy", requests={"cpu": "2"})],
    )
    pod = build.info(requests={"memory": "8Gi"})
    assert scores(NodeResourcesBalancedAllocation(), pod, table) == {"cpu-heavy": 87, "even": 62}


def test_balanced_allocation_has_no_say_for_pods_that_ask_for_nothing(build):
    assert not NodeResourcesBalancedAllocation().prefers(build.info())


def test_image_locality_prefers_nodes_with_the_image_and_more_so_a_widespread_one(build):
    gib = 1024**3
    table = build.table(
        build.node("a", images={"app:latest": gib, "rare:latest": gib}), build.node("b", images={"app:latest": gib}),
        build.node("c"), build.node("d"),
    )  # fmt: skip
    assert scores(ImageLocality(), build.info(image="app"), table) == {"a": 50, "b": 50, "c": 0, "d": 0}
    assert scores(ImageLocality(), build.info(image="rare"), table) == {"a": 23, "b": 0, "c": 0, "d": 0}
