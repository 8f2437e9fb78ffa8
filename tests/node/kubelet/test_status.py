"""The pod's status, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from kobune.node.kubelet.pod import pod_from_json
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.kubelet.status import Facts, Verdict, Waiting, render_status, status_patch
from kobune.node.runtime.runtime import Container, Sandbox, State

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
BOX = Sandbox("s", "web", "default", "u", 0, True, NOW, ["10.244.0.1"], {}, {})
EXITED, RUNNING = State.EXITED, State.RUNNING


def pod_of(policy="Always", init=(), containers=("main",), status=None, **more):
    spec = {
        "restartPolicy": policy,
        "initContainers": [{"name": each, "image": "i"} for each in init],
        "containers": [{"name": each, "image": "i"} for each in containers],
        **more,
    }
    return pod_from_json({"metadata": {"name": "web", "uid": "u"}, "spec": spec, "status": status or {}})


def record(name, state=RUNNING, code=0, attempt=0, reason=""):
    ended = NOW if state is EXITED else None
    created = NOW + timedelta(seconds=attempt)
    return Container(
        f"{name}-{attempt}", "s", name, attempt, state, "i:1", "sha", created, NOW, ended, code, reason, "", {}, {}
    )


def render(pod, *records, ready=(), started=(), **facts):
    state = PodState([BOX], sorted(records, key=lambda each: each.attempt, reverse=True))
    every = {"ready": frozenset(ready), "started": frozenset(started), "pod_ips": ["10.244.0.1"], **facts}
    return render_status(pod, Facts(state, NOW, NOW, **every))


def condition(status, kind):
    return next(each for each in status["conditions"] if each["type"] == kind)


@pytest.mark.parametrize(
    "pod, records, ending, expected",
    [
        pytest.param(pod_of(), [], False, "Pending", id="nothing-yet"),
        pytest.param(pod_of(), [record("main")], False, "Running", id="runs"),
        pytest.param(pod_of(containers=("a", "b")), [record("a")], False, "Pending", id="one-not-yet"),
        pytest.param(pod_of(), [record("main", EXITED, 1)], False, "Running", id="will-run-again"),
        pytest.param(pod_of("Never"), [record("main", EXITED)], False, "Succeeded", id="done"),
        pytest.param(pod_of("Never"), [record("main", EXITED, 1)], False, "Failed", id="failed"),
        pytest.param(pod_of("OnFailure"), [record("main", EXITED, 1)], False, "Running", id="on-failure"),
        pytest.param(
            pod_of("Never", containers=("a", "b")),
            [record("a", EXITED, 1), record("b")],
            False,
            "Running",
            id="one-left",
        ),
        pytest.param(pod_of(), [record("main", EXITED)], True, "Succeeded", id="ended-well"),
        pytest.param(pod_of(), [record("main", EXITED, 143)], True, "Failed", id="ended-badly"),
        pytest.param(pod_of(init=("i",)), [record("i")], False, "Pending", id="initializing"),
        pytest.param(pod_of(init=("i",)), [record("i", EXITED, 1)], False, "Pending", id="init-tried-again"),
        pytest.param(pod_of("Never", init=("i",)), [record("i", EXITED, 1)], False, "Failed", id="init-failed"),
        pytest.param(pod_of(init=("i",)), [record("i", EXITED), record("main")], False, "Running", id="initialized"),
    ],
)
def test_the_phase(pod, records, ending, expected):
    assert render(pod, *records, ending=ending)["phase"] == expected


def test_a_verdict_goes_before_what_containers_say():
    status = render(pod_of(), record("main"), verdict=Verdict("Evicted", "no room", disruption=True))
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", "no room")
    assert condition(status, "DisruptionTarget")["reason"] == "TerminationByKubelet"


def test_a_running_container_is_ready_when_its_probes_say_so():
    status = render(pod_of(), record("main"), started=["main-0"])
    assert (status["containerStatuses"][0]["started"], status["containerStatuses"][0]["ready"]) == (True, False)
    assert condition(status, "Ready")["reason"] == "ContainersNotReady"
    status = render(pod_of(), record("main"), started=["main-0"], ready=["main-0"])
    assert condition(status, "Ready")["status"] == "True"


def test_gates_hold_back_readiness():
    pod = pod_of(readinessGates=[{"conditionType": "x/y"}])
    ready = condition(render(pod, record("main"), started=["main-0"], ready=["main-0"]), "Ready")
    assert (ready["reason"], ready["message"]) == (
        "ReadinessGatesNotReady",
        'corresponding condition of pod readiness gate "x/y" does not exist.',
    )
    pod = pod_of(readinessGates=[{"conditionType": "x/y"}], status={"conditions": [{"type": "x/y", "status": "True"}]})
    assert condition(render(pod, record("main"), started=["main-0"], ready=["main-0"]), "Ready")["status"] == "True"


def test_a_restarted_container_shows_how_it_ended_before():
    status = render(pod_of(), record("main", EXITED, 137, reason="OOMKilled"), record("main", attempt=1))
    main = status["containerStatuses"][0]
    assert main["restartCount"] == 1
    assert "running" in main["state"]
    assert main["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert main["containerID"] == "containerd://main-1"


def test_waiting_is_shown_with_its_reason():
    waiting = {"main": Waiting("ImagePullBackOff", "words")}
    main = render(pod_of(), waiting=waiting)["containerStatuses"][0]
    assert main["state"] == {"waiting": {"reason": "ImagePullBackOff", "message": "words"}}
    assert render(pod_of())["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert render(pod_of(init=("i",)))["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_a_container_the_runtime_has_lost_is_not_forgotten():
    old = {
        "name": "main",
        "restartCount": 3,
        "containerID": "containerd://x",
        "state": {"running": {"startedAt": "2026-01-05T07:00:00Z"}},
    }
    main = render(pod_of(status={"containerStatuses": [old]}))["containerStatuses"][0]
    assert main["restartCount"] == 3
    assert main["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_conditions_keep_the_time_of_their_last_change():
    early = "2026-01-05T07:00:00Z"
    before = {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": early}]}
    status = render(pod_of(status=before), record("main"))
    assert condition(status, "PodScheduled")["lastTransitionTime"] == early
    assert condition(status, "Initialized")["lastTransitionTime"] == "2026-01-05T08:00:00Z"


def test_only_what_changed_is_written():
    before = render(pod_of())
    assert status_patch(before, before) == {}
    after = render(pod_of(), record("main"), started=["main-0"], ready=["main-0"])
    patch = status_patch(before, after)
    assert set(patch) == {"phase", "containerStatuses", "conditions"}
    assert {each["type"] for each in patch["conditions"]} == {"Ready", "ContainersReady"}


def test_old_addresses_do_not_stay():
    patch = status_patch({"podIPs": [{"ip": "1"}]}, {"podIPs": [{"ip": "2"}]})
    assert patch["podIPs"] == [{"$patch": "replace"}, {"ip": "2"}]


def test_an_init_container_is_ready_only_when_it_has_ended_well():
    status = render(pod_of(init=["first", "second"]), record("first"), started=["first-0"], ready=["first-0"])
    assert status["initContainerStatuses"][0]["ready"] is False
    assert condition(status, "Initialized")["message"] == "containers with incomplete status: [first second]"
