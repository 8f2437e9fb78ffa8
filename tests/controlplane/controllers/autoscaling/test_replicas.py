"""How many replicas a metric asks for."""

from datetime import UTC, datetime, timedelta

import pytest

from kobune.api.objects.core import PodStatus, ResourceRequirements
from kobune.api.objects.lean import LeanContainer, LeanPodSpec, Pod
from kobune.api.objects.meta import Condition, ObjectMeta
from kobune.controlplane.controllers.autoscaling.replicas import (
    MetricError,
    Sample,
    Tolerances,
    by_average,
    by_utilization,
    by_value,
    by_value_per_pod,
)

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)


def pod(name, *, phase="Running", ready=True, started=LONG_AGO, since=LONG_AGO, request="1"):
    container = LeanContainer(name="c", resources=ResourceRequirements(requests={"cpu": request} if request else {}))
    condition = Condition(type="Ready", status="True" if ready else "False", last_transition_time=since)
    return Pod(
        metadata=ObjectMeta(name=name),
        spec=LeanPodSpec(containers=[container]),
        status=PodStatus(phase=phase, start_time=started, conditions=[condition]),
    )


def sample(value, at=NOW):
    return Sample(value, at, timedelta(seconds=60))


def utilization(pods, values, *, current=None, target=50, **rest):
    samples = {name: sample(value) for name, value in values.items()}
    return by_utilization(
        pods, samples, current=current if current is not None else len(pods), target_percent=target, resource="cpu",
        container="", tolerances=Tolerances(), now=NOW, **rest,
    )  # fmt: skip


def test_use_above_the_target_asks_for_more_in_proportion():
    found = utilization([pod("a"), pod("b"), pod("c")], {"a": 800, "b": 800, "c": 800})
    assert (found.replicas, found.utilization, found.usage) == (5, 80, 800)


def test_use_below_the_target_asks_for_fewer():
    assert utilization([pod("a"), pod("b"), pod("c")], {"a": 100, "b": 100, "c": 100}).replicas == 1


def test_a_small_difference_changes_nothing():
    assert utilization([pod("a"), pod("b")], {"a": 530, "b": 540}).replicas == 2


def test_pods_without_a_figure_count_as_idle_when_more_are_asked_for():
    pods = [pod(name) for name in "abcd"]
    assert utilization(pods, {"a": 1000, "b": 1000}).replicas == 4  # Half of 100 per cent is the target.


def test_pods_without_a_figure_count_as_busy_when_fewer_are_asked_for():
    pods = [pod(name) for name in "abcd"]
    assert utilization(pods, {"a": 100, "b": 100, "c": 100}).replicas == 3


def test_what_a_starting_pod_uses_does_not_count():
    young = pod("young", started=NOW - timedelta(seconds=20), since=NOW - timedelta(seconds=10))
    found = utilization([pod("a"), young], {"a": 500, "young": 1000})
    assert found.replicas == 2
    assert found.utilization == 50


def test_deleted_and_failed_pods_are_ignored():
    gone = pod("gone", phase="Failed")
    assert utilization([pod("a"), gone], {"a": 500, "gone": 5000}, current=1).replicas == 1


@pytest.mark.parametrize(
    "pods, values, message",
    [
        pytest.param([], {}, "no pods returned by selector while calculating replica count", id="no-pods"),
        pytest.param([pod("a", phase="Pending")], {"a": 5},
                     "did not receive metrics for targeted pods (pods might be unready)", id="none-ready"),
        pytest.param([pod("a", request="")], {"a": 5}, "missing request for cpu in container c of Pod a", id="no-request"),
    ],
)  # fmt: skip
def test_why_there_is_no_number(pods, values, message):
    with pytest.raises(MetricError) as caught:
        utilization(pods, values)
    assert str(caught.value) == message


def test_an_average_value_needs_no_requests():
    pods = [pod("a", request=""), pod("b", request="")]
    samples = {"a": sample(30_000), "b": sample(10_000)}
    found = by_average(pods, samples, current=2, target=10_000, resource="", tolerances=Tolerances(), now=NOW)
    assert (found.replicas, found.usage) == (4, 20_000)


def test_a_value_is_for_the_ready_pods_together():
    pods = [pod("a"), pod("b"), pod("c", ready=False)]
    assert by_value(pods, 30_000, current=3, target=10_000, tolerances=Tolerances()).replicas == 6


def test_a_value_per_pod_is_shared_by_all():
    found = by_value_per_pod(100_000, current=4, target=10_000, tolerances=Tolerances())
    assert (found.replicas, found.usage) == (10, 25_000)


def test_the_tolerances_of_both_directions_are_apart():
    wide = Tolerances(down=0.5, up=0.0)
    assert by_value([pod("a")], 6_000, current=1, target=10_000, tolerances=wide).replicas == 1
    assert by_value([pod("a")], 10_100, current=1, target=10_000, tolerances=wide).replicas == 2
