"""What a pod needs next, as tables: state of the runtime in, plan out."""

from datetime import UTC, datetime, timedelta

import pytest

from kobune.node.kubelet.backoff import BackOff
from kobune.node.kubelet.plan import CONTAINER_HASH, Condemned, container_hash, plan_pod
from kobune.node.kubelet.pod import pod_from_json
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.runtime.runtime import Container, Sandbox, State

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def pod_of(policy="Always", init=(), containers=("main",), **more):
    return pod_from_json(
        {
            "metadata": {"name": "web", "uid": "u"},
            "spec": {
                "restartPolicy": policy,
                "initContainers": [each if isinstance(each, dict) else {"name": each} for each in init],
                "containers": [each if isinstance(each, dict) else {"name": each} for each in containers],
                **more,
            },
        }
    )


def sandbox(attempt=0, ready=True):
    return Sandbox(f"s{attempt}", "web", "default", "u", attempt, ready, NOW, ["10.244.0.1"], {}, {})


def record(name, state=State.RUNNING, code=0, ago=100.0, of=0, attempt=0, **annotations):
    ended = NOW - timedelta(seconds=ago) if state is State.EXITED else None
    return Container(
        f"{name}-{attempt}", f"s{of}", name, attempt, state, "i", "i", NOW, NOW, ended, code, "", "", {}, annotations
    )


def plan(pod, *containers, sandboxes=None, started=(), condemned=(), backoff=None):
    return plan_pod(
        pod,
        PodState(sandboxes if sandboxes is not None else [sandbox()], containers),
        backoff=backoff or BackOff(),
        condemned=Condemned(frozenset(condemned)),
        started=frozenset(started),
        now=NOW,
    )


def starts(made):
    return [each.name for each in made.start]


EXITED = State.EXITED


def test_a_new_pod_gets_a_sandbox_and_its_first_containers():
    made = plan(pod_of(containers=("a", "b")), sandboxes=[])
    assert (made.create_sandbox, made.attempt, starts(made)) == (True, 0, ["a", "b"])
    assert starts(plan(pod_of(init=("i", "j")), sandboxes=[])) == ["i"]


def test_a_dead_sandbox_is_replaced_by_the_next_attempt():
    made = plan(pod_of(), record("main", EXITED, 137), sandboxes=[sandbox(2, ready=False)])
    assert (made.create_sandbox, made.attempt, list(made.stop_sandboxes)) == (True, 3, ["s2"])


@pytest.mark.parametrize(
    "policy, code, expected",
    [
        ("Always", 0, ["main"]),
        ("Always", 1, ["main"]),
        ("OnFailure", 1, ["main"]),
        ("OnFailure", 0, "finished"),
        ("Never", 1, "finished"),
        ("Never", 0, "finished"),
    ],
)
def test_the_restart_policy_decides_about_an_exited_container(policy, code, expected):
    made = plan(pod_of(policy), record("main", EXITED, code))
    assert ("finished" if made.finished else starts(made)) == expected


@pytest.mark.parametrize("policy, finished", [("Never", True), ("Always", False), ("OnFailure", False)])
def test_a_lost_sandbox_ends_a_pod_that_never_restarts(policy, finished):
    made = plan(pod_of(policy), record("main", EXITED, 137), sandboxes=[sandbox(ready=False)])
    assert made.finished == finished


@pytest.mark.parametrize(
    "containers, expected",
    [
        pytest.param([record("i")], [], id="the-first-still-runs"),
        pytest.param([record("i", EXITED)], ["j"], id="the-first-is-through"),
        pytest.param([record("i", EXITED), record("j", EXITED)], ["main"], id="all-are-through"),
        pytest.param([record("i", EXITED), record("j", EXITED, 1)], ["j"], id="the-second-failed"),
        pytest.param([record("main")], [], id="the-main-container-runs-and-init-records-are-gone"),
    ],
)
def test_init_containers_go_one_by_one(containers, expected):
    assert starts(plan(pod_of(init=("i", "j")), *containers)) == expected


def test_a_failed_init_container_ends_a_pod_that_never_restarts():
    assert plan(pod_of("Never", init=("i",)), record("i", EXITED, 1)).finished


SIDE = {"name": "side", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    "containers, started, expected",
    [
        pytest.param([record("side")], [], [], id="not-yet-started"),
        pytest.param([record("side")], ["side-0"], ["main"], id="started"),
        pytest.param([record("side", EXITED, 1), record("main")], [], ["side"], id="restarted-while-others-run"),
    ],
)
def test_sidecars_come_first_and_are_kept_running(containers, started, expected):
    assert starts(plan(pod_of(init=(SIDE,)), *containers, started=started)) == expected


def test_a_pod_is_finished_when_only_sidecars_are_left():
    made = plan(pod_of("Never", init=(SIDE,)), record("side"), record("main", EXITED), started=["side-0"])
    assert made.finished


def test_a_container_rests_after_repeated_failures():
    backoff = BackOff()
    backoff.failed("main", NOW.timestamp() - 60)
    made = plan(pod_of(), record("main", EXITED, 1, ago=4), backoff=backoff)
    assert starts(made) == []
    rest = made.resting["main"]
    assert (rest.until - NOW, rest.pause_seconds) == (timedelta(seconds=6), 10)
    assert starts(plan(pod_of(), record("main", EXITED, 1, ago=11), backoff=backoff)) == ["main"]


def test_a_condemned_container_is_killed():
    made = plan(pod_of(), record("main"), condemned=["main-0"])
    assert [kill.message for kill in made.kill] == ["Container main failed liveness probe, will be restarted"]
    made = plan(pod_of("Never"), record("main"), condemned=["main-0"])
    assert [kill.message for kill in made.kill] == ["Container main failed liveness probe"]


def test_a_changed_container_is_killed_to_be_made_anew():
    old = container_hash(pod_of(containers=({"name": "main", "image": "a:1"},)).spec.containers[0])
    made = plan(pod_of(containers=({"name": "main", "image": "a:2"},)), record("main", **{CONTAINER_HASH: old}))
    assert [kill.message for kill in made.kill] == ["Container main definition changed, will be restarted"]


def test_a_rule_restarts_on_its_exit_codes_whatever_the_policy():
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    pod = pod_of("Never", containers=({"name": "main", "restartPolicy": "Never", "restartPolicyRules": [rule]},))
    assert starts(plan(pod, record("main", EXITED, 42))) == ["main"]
    assert plan(pod, record("main", EXITED, 1)).finished


def test_ephemeral_containers_are_started_once():
    pod = pod_of(ephemeralContainers=[{"name": "debug"}])
    assert starts(plan(pod, record("main"))) == ["debug"]
    assert starts(plan(pod, record("main"), record("debug", EXITED))) == []


def test_what_runs_is_left_alone():
    made = plan(pod_of(containers=("a", "b")), record("a"), record("b"))
    assert (made.finished, made.create_sandbox, starts(made), list(made.kill)) == (False, False, [], [])


def test_pauses_double_up_to_a_limit_and_start_anew_after_quiet():
    backoff = BackOff()
    assert [backoff.failed("x", moment) for moment in (0, 1, 2, 3, 4, 5, 6)] == [10, 20, 40, 80, 160, 300, 300]
    assert backoff.until("x", 700) == 700
    assert backoff.failed("x", 700) == 10
