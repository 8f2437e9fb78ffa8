import pytest

from kobune.api.objects.apps import (
    Deployment,
    DeploymentSpec,
    DeploymentStatus,
    DeploymentStrategy,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
    RollingUpdateDeployment,
)
from kobune.api.objects.meta import ObjectMeta
from kobune.controlplane.controllers.deployment.rolling import (
    Bounds,
    proportional_sizes,
    rollout_bounds,
    size_of_new,
    sizes_of_old,
    was_scaled,
)


def deployment(replicas, surge=0, unavailable=0):
    rolling = RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable)
    strategy = DeploymentStrategy(type="RollingUpdate", rolling_update=rolling)
    spec = DeploymentSpec(replicas=replicas, strategy=strategy)
    return Deployment(metadata=ObjectMeta(name="web"), spec=spec, status=DeploymentStatus())


def replica_set(name, replicas, available=None, desired=None, maximum=None):
    annotations = {}
    if desired is not None:
        annotations["deployment.kubernetes.io/desired-replicas"] = str(desired)
        annotations["deployment.kubernetes.io/max-replicas"] = str(maximum or desired)
    status = ReplicaSetStatus(replicas=replicas, available_replicas=replicas if available is None else available)
    metadata = ObjectMeta(name=name, annotations=annotations)
    return ReplicaSet(metadata=metadata, spec=ReplicaSetSpec(replicas=replicas), status=status)


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        pytest.param("25%", "25%", 10, Bounds(3, 2), id="surge-rounds-up-unavailable-rounds-down"),
        pytest.param(1, 0, 10, Bounds(1, 0), id="counts-are-taken-as-given"),
        pytest.param("0%", "0%", 4, Bounds(0, 1), id="an-update-can-always-move"),
        pytest.param("0%", "1%", 2, Bounds(0, 1), id="a-share-rounded-to-nothing-still-moves"),
        pytest.param("100%", "100%", 3, Bounds(3, 3), id="everything-at-once"),
    ],
)
def test_rollout_bounds(surge, unavailable, replicas, expected):
    assert rollout_bounds(surge, unavailable, replicas) == expected


@pytest.mark.parametrize(
    ("replicas", "surge", "old", "new", "expected"),
    [
        pytest.param(10, 2, 10, 0, 2, id="the-surge-at-first"),
        pytest.param(10, 2, 8, 2, 4, id="then-what-the-old-gave-up"),
        pytest.param(10, 2, 12, 0, 0, id="nothing-without-room"),
        pytest.param(10, 0, 5, 3, 5, id="without-surge-only-gaps-are-filled"),
        pytest.param(3, 5, 0, 0, 3, id="never-more-than-wanted"),
        pytest.param(3, 0, 0, 7, 3, id="too-large-is-cut"),
    ],
)
def test_size_of_new(replicas, surge, old, new, expected):
    sets = [replica_set("old", old), replica_set("new", new)]
    assert size_of_new(deployment(replicas, surge, 1), sets, new) == expected


@pytest.mark.parametrize(
    ("replicas", "unavailable", "old", "new", "expected"),
    [
        pytest.param(10, 2, [(10, 10)], (2, 0), [8], id="down-to-the-floor-while-the-new-are-not-yet-available"),
        pytest.param(10, 2, [(8, 8)], (2, 2), [6], id="each-available-new-pod-frees-an-old-one"),
        pytest.param(10, 0, [(10, 10)], (3, 0), [10], id="nothing-may-be-missing"),
        pytest.param(10, 2, [(8, 8)], (5, 0), [8], id="unavailable-new-pods-are-no-reason"),
        pytest.param(10, 2, [(8, 3)], (5, 0), [8], id="nor-are-sick-old-pods-then"),
        pytest.param(10, 2, [(10, 4)], (2, 2), [6], id="sick-old-pods-go-first"),
        pytest.param(4, 4, [(2, 2), (3, 3)], (0, 0), [0, 0], id="oldest-first-until-nothing-is-left"),
    ],
)
def test_sizes_of_old(replicas, unavailable, old, new, expected):
    sets = [replica_set(f"old{number}", *size) for number, size in enumerate(old)]
    sizes = sizes_of_old(deployment(replicas, 3, unavailable), sets, replica_set("new", *new))
    assert [sizes.get(each.name, each.spec.replicas) for each in sets] == expected


@pytest.mark.parametrize(
    ("replicas", "surge", "old", "new", "expected"),
    [
        pytest.param(20, 0, [(5, 10, 10)], (5, 10, 10), {"old0": 10, "new": 10}, id="up-by-shares"),
        pytest.param(5, 0, [(8, 10, 10)], (2, 10, 10), {"old0": 4, "new": 1}, id="down-by-shares"),
        pytest.param(30, 0, [(8, 10, 10)], (2, 10, 10), {"old0": 24, "new": 6}, id="unequal-shares"),
        pytest.param(0, 0, [(8, 10, 10)], (2, 10, 10), {"old0": 0, "new": 0}, id="to-nothing"),
        pytest.param(10, 0, [], (5, 5, 5), {"new": 10}, id="a-single-one-takes-all"),
        pytest.param(10, 0, [(4, 10, 10)], (10, 10, 10), {"old0": 0}, id="old-ones-go-when-the-new-is-full"),
    ],
)
def test_proportional_sizes(replicas, surge, old, new, expected):
    sets = [replica_set(f"old{number}", size, None, *marks) for number, (size, *marks) in enumerate(old)]
    size, *marks = new
    assert proportional_sizes(deployment(replicas, surge, 1), replica_set("new", size, None, *marks), sets) == expected


def test_a_scaled_deployment_is_known_by_the_mark_of_its_active_replica_sets():
    assert was_scaled(deployment(5), [replica_set("a", 3, desired=3)])
    assert not was_scaled(deployment(3), [replica_set("a", 3, desired=3), replica_set("b", 0, desired=9)])
