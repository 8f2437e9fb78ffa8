"""What a pod's row says of its containers. Expectations follow upstream's printPod."""

from datetime import UTC, datetime

import pytest

from kobune.controlplane.apiserver.tables.pods import pod_cells, pod_conditions

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUNNING = {"running": {"startedAt": "2026-01-02T11:00:00Z"}}


def container(name="a", *, ready=False, restarts=0, last="", started=None, **state):
    status = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    if last:
        status["lastState"] = {"terminated": {"exitCode": 1, "finishedAt": last}}
    if started is not None:
        status["started"] = started
    return status


def waiting(reason="", **more):
    return container(waiting={"reason": reason}, **more)


def ended(code=0, reason="", **more):
    return container(terminated={"exitCode": code, **({"reason": reason} if reason else {})}, **more)


def running(name="a", **more):
    return container(name, ready=True, **more, **RUNNING)


def pod(*statuses, phase="Running", init=(), init_spec=(), conditions=(), deleted=False, spec=None, **status):
    metadata = {"name": "web", "creationTimestamp": "2026-01-02T11:00:00Z"}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-02T11:59:00Z"
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": one["name"]} for one in statuses], "initContainers": list(init_spec), **(spec or {})},
        "status": {
            "phase": phase, "containerStatuses": list(statuses), "initContainerStatuses": list(init),
            "conditions": [{"type": kind, "status": value} for kind, value in conditions], **status,
        },
    }  # fmt: skip


INIT = ({"name": "i"}, {"name": "j"})
SIDECAR = ({"name": "s", "restartPolicy": "Always"},)
CASES = [
    pytest.param(pod(running(), running("b")), "2/2", "Running", "0", id="all-ready"),
    pytest.param(pod(running(), container("b", **RUNNING)), "1/2", "Running", "0", id="one-not-ready"),
    pytest.param(pod(phase="Pending"), "0/0", "Pending", "0", id="nothing-known-yet"),
    pytest.param(pod(waiting("ContainerCreating"), phase="Pending"), "0/1", "ContainerCreating", "0", id="creating"),
    pytest.param(
        pod(waiting("CrashLoopBackOff", restarts=3, last="2026-01-02T11:55:00Z")),
        "0/1", "CrashLoopBackOff", "3 (5m ago)", id="restarts-say-when",
    ),
    pytest.param(pod(ended(reason="Completed"), phase="Succeeded"), "0/1", "Completed", "0", id="completed"),
    pytest.param(pod(ended(1, "Error"), phase="Failed"), "0/1", "Error", "0", id="failed"),
    pytest.param(pod(ended(7), phase="Failed"), "0/1", "ExitCode:7", "0", id="exit-code-without-reason"),
    pytest.param(
        pod(container(terminated={"exitCode": 137, "signal": 9}), phase="Failed"),
        "0/1", "Signal:9", "0", id="signal-without-reason",
    ),
    pytest.param(
        pod(ended(reason="Completed"), running("b"), conditions=[("Ready", "True")]),
        "1/2", "Running", "0", id="one-completed-the-pod-ready",
    ),
    pytest.param(
        pod(ended(reason="Completed"), running("b"), conditions=[("Ready", "False")]),
        "1/2", "NotReady", "0", id="one-completed-the-pod-not-ready",
    ),
    pytest.param(
        pod(ended(reason="Completed"), ended(1, "Error", name="b")), "0/2", "Error", "0", id="one-completed-one-failed"
    ),
    pytest.param(pod(running(), phase="Failed", reason="Evicted"), "1/1", "Evicted", "0", id="the-pods-own-reason"),
    pytest.param(pod(running(), deleted=True), "1/1", "Terminating", "0", id="terminating"),
    pytest.param(
        pod(ended(reason="Completed"), phase="Succeeded", deleted=True), "0/1", "Completed", "0", id="ended-then-deleted"
    ),
    pytest.param(
        pod(running(), deleted=True, reason="NodeLost"), "1/1", "Unknown", "0", id="deleted-while-its-node-is-lost"
    ),
    pytest.param(
        pod(phase="Pending", init=[ended(name="i"), container("j", **RUNNING)], init_spec=INIT),
        "0/0", "Init:1/2", "0", id="initializing",
    ),
    pytest.param(
        pod(phase="Pending", init=[waiting("PodInitializing", name="i")], init_spec=INIT),
        "0/0", "Init:0/2", "0", id="init-waiting-its-turn",
    ),
    pytest.param(
        pod(phase="Pending", init=[waiting("CrashLoopBackOff", name="i", restarts=2)], init_spec=INIT),
        "0/0", "Init:CrashLoopBackOff", "2", id="init-crashing",
    ),
    pytest.param(
        pod(phase="Pending", init=[ended(3, name="i")], init_spec=INIT), "0/0", "Init:ExitCode:3", "0", id="init-failed"
    ),
    pytest.param(
        pod(running(), init=[ended(name="i", restarts=4)], init_spec=INIT[:1], conditions=[("Initialized", "True")]),
        "1/1", "Running", "0", id="restarts-of-finished-init-containers-do-not-count",
    ),
    pytest.param(
        pod(running(restarts=1), init=[running("s", restarts=2, started=True)], init_spec=SIDECAR),
        "2/2", "Running", "3", id="sidecars-count-as-containers",
    ),
    pytest.param(
        pod(phase="Pending", init=[container("s", started=False, **RUNNING)], init_spec=SIDECAR),
        "0/1", "Init:0/1", "0", id="a-sidecar-not-yet-started",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "ready", "status", "restarts"), CASES)
def test_a_pods_state_in_one_word(obj, ready, status, restarts):
    assert pod_cells(obj, NOW)[1:5] == [ready, status, restarts, "60m"]


def test_a_gated_pod_says_so():
    gated = pod(phase="Pending")
    gated["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]
    assert pod_cells(gated, NOW)[2] == "SchedulingGated"


def test_wide_columns_say_none_until_known():
    assert pod_cells(pod(), NOW)[5:] == ["<none>", "<none>", "<none>", "<none>"]


def test_wide_columns_say_where_the_pod_is():
    obj = pod(
        running(),
        spec={"nodeName": "n1", "readinessGates": [{"conditionType": "x/a"}, {"conditionType": "x/b"}]},
        conditions=[("x/a", "True"), ("x/b", "False")],
        podIPs=[{"ip": "10.244.0.5"}, {"ip": "fd00::5"}],
        nominatedNodeName="n2",
    )
    assert pod_cells(obj, NOW)[5:] == ["10.244.0.5", "n1", "n2", "1/2"]


def test_rows_of_pods_that_have_ended_can_be_told():
    assert pod_conditions(pod(running())) == []
    assert pod_conditions(pod(phase="Failed")) == [
        {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}
    ]
