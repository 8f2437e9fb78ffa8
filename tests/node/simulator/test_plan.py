"""What a simulated kubelet does next is decided by the pod, its life and the time."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kobune.node.simulator.life import Life, read_life
from kobune.node.simulator.plan import Act, Step, backoff_seconds, plan
from kobune.node.simulator.views import SimPod

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def pod(phase: str = "Pending", *, began: float | None = None, restarts: int = 0, waiting: str = "",
        deleted: float | None = None, grace: int = 30, policy: str = "Always",
        finalizers: tuple[str, ...] = ()) -> SimPod:  # fmt: skip
    state: dict[str, object] = {}
    if began is not None:
        state["running"] = {"startedAt": ago(began)}
    if waiting:
        state["waiting"] = {"reason": waiting}
    meta: dict[str, object] = {"name": "p", "namespace": "d", "uid": "u", "finalizers": finalizers}
    if deleted is not None:
        meta |= {"deletionTimestamp": ago(deleted) + timedelta(seconds=grace), "deletionGracePeriodSeconds": grace}
    status: dict[str, object] = {"phase": phase}
    if state or phase == "Running":
        status["containerStatuses"] = [{"name": "c", "restartCount": restarts, "state": state}]
    document = {"metadata": meta, "spec": {"restartPolicy": policy}, "status": status}
    return msgspec.convert(document, SimPod)


@pytest.mark.parametrize(
    "what, life, expected",
    [
        pytest.param(pod(), Life(), Step(Act.RUN), id="runs-at-once"),
        pytest.param(pod(), Life(start_after=5), Step(Act.NOTHING, 4), id="waits-for-its-start"),
        pytest.param(pod(), Life(start_after=1), Step(Act.RUN), id="starts-when-due"),
        pytest.param(pod(), Life(failure="ImagePullBackOff"), Step(Act.FAIL_START), id="fails-to-start"),
        pytest.param(pod(waiting="ImagePullBackOff"), Life(failure="ImagePullBackOff"), Step(Act.NOTHING),
                     id="says-so-once"),
        pytest.param(pod("Running", began=2), Life(ready_after=5), Step(Act.NOTHING, 3), id="not-ready-yet"),
        pytest.param(pod("Running", began=2), Life(ready_after=1), Step(Act.READY), id="ready-when-due"),
        pytest.param(pod("Running", began=2), Life(exit_after=5, ready_after=9), Step(Act.NOTHING, 3),
                     id="looks-again-at-the-earlier-of-two"),
        pytest.param(pod("Running", began=6), Life(exit_after=5), Step(Act.CRASH), id="always-restarts"),
        pytest.param(pod("Running", began=6, policy="Never"), Life(exit_after=5), Step(Act.EXIT), id="never-restarts"),
        pytest.param(pod("Running", began=6, policy="OnFailure"), Life(exit_after=5), Step(Act.EXIT), id="succeeds"),
        pytest.param(pod("Running", began=6, policy="OnFailure"), Life(exit_after=5, exit_code=1), Step(Act.CRASH),
                     id="restarts-on-failure"),
        pytest.param(pod("Running", waiting="CrashLoopBackOff", restarts=2), Life(exit_after=5), Step(Act.NOTHING, 19),
                     id="backs-off-before-a-restart"),
        pytest.param(pod("Running", waiting="CrashLoopBackOff"), Life(exit_after=5), Step(Act.RESTART),
                     id="first-restart-at-once"),
        pytest.param(pod("Succeeded"), Life(exit_after=5), Step(Act.NOTHING), id="finished-is-finished"),
        pytest.param(pod("Running", began=9, deleted=1), Life(), Step(Act.REMOVE), id="removed-at-once"),
        pytest.param(pod("Running", began=9, deleted=1), Life(stop_after=4), Step(Act.NOTHING, 3), id="takes-its-time"),
        pytest.param(pod("Running", began=9, deleted=1, grace=2), Life(stop_after=60), Step(Act.NOTHING, 1),
                     id="but-not-longer-than-the-grace"),
        pytest.param(pod(deleted=0, grace=0), Life(stop_after=60), Step(Act.REMOVE), id="no-grace-no-wait"),
        pytest.param(pod("Running", began=9, deleted=1, finalizers=("a/b",)), Life(), Step(Act.KILL),
                     id="fails-first-where-a-finalizer-keeps-it"),
        pytest.param(pod("Failed", deleted=1, finalizers=("a/b",)), Life(), Step(Act.REMOVE), id="and-is-then-removed"),
    ],
)  # fmt: skip
def test_the_next_step(what: SimPod, life: Life, expected: Step):
    assert plan(what, life, NOW, seen=ago(1), ready=False, ended=ago(1)) == expected


def test_a_ready_pod_without_an_end_needs_nothing():
    step = plan(pod("Running", began=9), Life(), NOW, seen=ago(9), ready=True, ended=None)
    assert step == Step(Act.NOTHING)


def test_restarts_back_off_as_upstream_does():
    assert [backoff_seconds(count) for count in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize(
    "annotations, life",
    [
        ({}, Life()),
        ({"kobune.local/sim-exit-after": "1m30s", "kobune.local/sim-exit-code": "3"}, Life(exit_after=90, exit_code=3)),
        ({"kobune.local/sim-start-after": "200ms"}, Life(start_after=0.2)),
        (
            {"kobune.local/sim-cpu": "250m", "kobune.local/sim-memory": "64Mi"},
            Life(cpu_millicores=250, memory_bytes=64 << 20),
        ),
    ],
)
def test_a_life_is_read_from_annotations(annotations: dict[str, str], life: Life):
    assert read_life(annotations) == life


@pytest.mark.parametrize(
    "name, value",
    [
        ("exit-after", "5"),
        ("exit-after", ""),
        ("exit-after", "-5s"),
        ("exit-code", "256"),
        ("cpu", "1"),
        ("memory", "1GB"),
    ],
)
def test_an_annotation_that_cannot_be_read_keeps_the_pod_from_starting(name: str, value: str):
    life = read_life({f"kobune.local/sim-{name}": value})
    assert life.failure == "CreateContainerConfigError"
    assert name in life.failure_message
