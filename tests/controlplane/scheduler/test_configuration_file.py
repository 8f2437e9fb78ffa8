"""KubeSchedulerConfiguration: what it comes to, and what is refused. Source: Kubernetes documentation, Scheduler
Configuration; upstream apis/config/validation and framework/runtime, whose messages these are."""

import random

import pytest

from kobune.api.errors import Invalid
from kobune.controlplane.scheduler.configuration import default_points
from kobune.controlplane.scheduler.configuration_file import effective_points, parse_configuration, read_configuration
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.plugins.table import PLUGINS
from kobune.controlplane.scheduler.profiles import build_profile, build_profiles


def document(**fields):
    return {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", **fields}


def profile(**fields):
    return document(profiles=[fields])


def args(plugin, **values):
    return profile(pluginConfig=[{"name": plugin, "args": values}])


def test_an_empty_configuration_is_the_default():
    config = read_configuration(document())
    assert [one.scheduler_name for one in config.profiles] == ["default-scheduler"]
    points = config.profiles[0].points
    assert {point: uses for point, uses in points.items() if uses} == default_points()


def test_default_weights_are_upstreams():
    weights = {use.name: use.weight for use in default_points()["score"]}
    assert weights == {
        "TaintToleration": 3, "NodeAffinity": 2, "NodeResourcesFit": 1, "PodTopologySpread": 2, "InterPodAffinity": 2,
        "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1, "DynamicResources": 2,
    }  # fmt: skip


def names(points, point):
    return [use.name for use in points[point]]


def test_a_point_can_drop_a_plugin_and_change_a_weight():
    points = effective_points({
        "score": {"disabled": [{"name": "ImageLocality"}], "enabled": [{"name": "NodeResourcesFit", "weight": 9}]}
    })  # fmt: skip
    assert names(points, "score")[0] == "NodeResourcesFit"
    assert points["score"][0].weight == 9
    assert "ImageLocality" not in names(points, "score")
    assert "NodeResourcesFit" in names(points, "filter")


def test_a_plugin_dropped_at_multi_point_is_gone_everywhere():
    points = effective_points({"multiPoint": {"disabled": [{"name": "NodeResourcesFit"}]}})
    assert all("NodeResourcesFit" not in names(points, point) for point in points)


def test_all_can_be_dropped_and_a_few_taken_back():
    points = effective_points({
        "multiPoint": {
            "disabled": [{"name": "*"}],
            "enabled": [{"name": "NodeName"}, {"name": "PrioritySort"}, {"name": "DefaultBinder"}],
        }
    })  # fmt: skip
    assert (names(points, "filter"), names(points, "score")) == (["NodeName"], [])


def test_a_weight_of_zero_or_none_is_one():
    points = effective_points({"score": {"enabled": [{"name": "ImageLocality", "weight": 0}]}})
    assert {use.name: use.weight for use in points["score"]}["ImageLocality"] == 1


def test_profiles_run_as_they_are_configured(build):
    """Two schedulers that look at the same nodes and choose differently."""
    most = {"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]}}
    config = read_configuration(
        document(
            profiles=[
                {"schedulerName": "spread"},
                {"schedulerName": "pack", "pluginConfig": [{"name": "NodeResourcesFit", "args": most}]},
            ]
        )
    )
    table = build.table(
        build.node("a"), build.node("b"), pods=[build.info(on="a", requests={"cpu": "1", "memory": "4Gi"})]
    )
    pod, rng = build.info(requests={"cpu": "1", "memory": "4Gi"}), random.Random(1)
    picked = {
        name: table.names[running.profile.find_node(pod, table, Nominations(), rng)]
        for name, running in build_profiles(config, Listers()).items()
    }
    assert picked == {"spread": "b", "pack": "a"}


def test_every_plugin_of_the_table_can_be_made():
    config = read_configuration(document())
    running = build_profile(config.profiles[0], Listers())
    made = {plugin.name for plugin in running.profile.filters}
    assert made == {row.name for row in PLUGINS if "filter" in row.points}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("kind: Pod", 'no kind "Pod" is registered for version ""', id="another-kind"),
        pytest.param("{", "couldn't get version/kind; json parse error", id="not-yaml"),
    ],
)
def test_what_is_no_configuration_is_refused(text, message):
    with pytest.raises(Invalid, match=message[:30]):
        parse_configuration(text)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(document(podInitialBackoffSecond=1), 'strict decoding error: unknown field "podInitialBackoffSecond"', id="unknown-field"),
        pytest.param(
            profile(plugins={"filter": {"enabled": [{"name": "Foo"}]}}),
            'initializing profiles: creating profile for scheduler name default-scheduler: FilterPlugin "Foo" does not exist',
            id="unknown-plugin",
        ),
        pytest.param(
            profile(plugins={"multiPoint": {"enabled": [{"name": "Foo"}]}}),
            'initializing profiles: creating profile for scheduler name default-scheduler: PreFilterPlugin "Foo" does not exist',
            id="unknown-at-multi-point",
        ),
        pytest.param(
            profile(plugins={"score": {"enabled": [{"name": "NodeName"}]}}),
            "initializing profiles: creating profile for scheduler name default-scheduler: "
            'plugin "NodeName" does not extend ScorePlugin plugin',
            id="a-point-that-it-has-not",
        ),
        pytest.param(
            document(profiles=[{"schedulerName": "a"}, {"schedulerName": "a"}]),
            'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"',
            id="two-profiles-of-one-name",
        ),
        pytest.param(
            document(profiles=[{}, {}]),
            '[profiles[0].schedulerName: Required value, profiles[1].schedulerName: Required value, '
            'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"]',
            id="two-profiles-without-names",
        ),
        pytest.param(
            document(podInitialBackoffSeconds=5, podMaxBackoffSeconds=1),
            "podMaxBackoffSeconds: Invalid value: 1: must be greater than or equal to PodInitialBackoffSeconds",
            id="back-off",
        ),
        pytest.param(
            document(percentageOfNodesToScore=101),
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]", id="percentage",
        ),
        pytest.param(
            args("InterPodAffinity", hardPodAffinityWeight=101),
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
            id="hard-weight",
        ),
        pytest.param(
            args("DefaultPreemption", minCandidateNodesPercentage=0, minCandidateNodesAbsolute=0),
            "[profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as "
            "minCandidateNodesAbsolute, profiles[0].pluginConfig[0].args.minCandidateNodesAbsolute: Invalid value: 0: cannot be "
            "zero at the same time as minCandidateNodesPercentage]",
            id="no-candidates",
        ),
        pytest.param(
            args("NodeResourcesFit", scoringStrategy={"type": "Best"}),
            'profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "Best": supported values: '
            '"LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"',
            id="strategy",
        ),
        pytest.param(
            args("NodeResourcesFit", scoringStrategy={"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {
                "shape": [{"utilization": 50, "score": 3}, {"utilization": 50, "score": 11}]}}),
            "[profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 50: "
            "values must be sorted in increasing order, profiles[0].pluginConfig[0].args.scoringStrategy."
            "requestedToCapacityRatio.shape[1].score: Invalid value: 11: not in valid range [0, 10]]",
            id="shape",
        ),
        pytest.param(
            args("PodTopologySpread", defaultingType="System", defaultConstraints=[
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]),
            'profiles[0].pluginConfig[0].args.defaultingType: Invalid value: "System": when .defaultConstraints are not empty',
            id="defaulting",
        ),
        pytest.param(
            document(extenders=[{"urlPrefix": "http://x", "prioritizeVerb": "p"}]),
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
            id="extender-weight",
        ),
        pytest.param(
            document(extenders=[{"urlPrefix": "http://x", "bindVerb": "b"}, {"urlPrefix": "http://y", "bindVerb": "b"}]),
            'extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind',
            id="two-binders",
        ),
        pytest.param(
            document(extenders=[{"urlPrefix": "http://x", "managedResources": [{"name": "cpu"}]}]),
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
            id="managed-resources",
        ),
    ],
)  # fmt: skip
def test_a_bad_configuration_is_refused_in_upstreams_words(config, message):
    with pytest.raises(Invalid) as refused:
        read_configuration(config)
    assert str(refused.value) == message
