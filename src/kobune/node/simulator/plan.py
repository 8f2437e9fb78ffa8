"""What a simulated kubelet does next about one pod: decided from the pod, its life and the time, and nothing else."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from kobune.node.simulator.life import Life
from kobune.node.simulator.views import SimPod

# Source: upstream kubelet, container restart back-off.
FIRST_BACKOFF, MAX_BACKOFF = 10.0, 300.0


class Act(StrEnum):
    NOTHING = "nothing"
    FAIL_START = "fail to start"
    RUN = "run"  # Running, and Ready if there is nothing to wait for.
    READY = "become ready"
    EXIT = "exit"  # For good: the pod succeeds or fails.
    CRASH = "crash"  # The containers exit and wait for their restart.
    RESTART = "restart"
    KILL = "kill"  # It fails, being deleted, and somebody's finalizer keeps the object.
    REMOVE = "remove"


class Step(NamedTuple):
    """What to do: `act` now, or (NOTHING) look again after `wait` seconds; None is when the pod changes."""

    act: Act
    wait: float | None = None


def plan(pod: SimPod, life: Life, now: datetime, *, seen: datetime, ready: bool, ended: datetime | None) -> Step:
    """The next step.

    Args:
        seen: when the pod was first seen bound.
        ready: whether it was reported Ready.
        ended: when its containers last exited, while they wait for their restart.
    """
    meta, phase = pod.metadata, pod.status.phase
    if meta.deletion_timestamp is not None:
        grace = timedelta(seconds=meta.deletion_grace_period_seconds or 0)
        asked = meta.deletion_timestamp - grace
        # Nobody sees the end of a pod whose object goes with it: one write less for most of them.
        end = Act.KILL if meta.finalizers and phase in ("Pending", "Running") else Act.REMOVE
        return _at(end, min(asked + timedelta(seconds=life.stop_after), meta.deletion_timestamp), now)
    if phase == "Pending":
        if life.failure:
            shown = any(status.state.waiting for status in pod.status.container_statuses)
            return Step(Act.NOTHING) if shown else Step(Act.FAIL_START)
        return _at(Act.RUN, seen + timedelta(seconds=life.start_after), now)
    if phase != "Running":
        return Step(Act.NOTHING)
    statuses = pod.status.container_statuses
    began = next((each.state.running.started_at for each in statuses if each.state.running), None)
    if began is None:
        restarts = statuses[0].restart_count if statuses else 0
        return _at(Act.RESTART, (ended or now) + timedelta(seconds=backoff_seconds(restarts)), now)
    if life.exit_after is not None:
        again = pod.spec.restart_policy == "Always" or (pod.spec.restart_policy == "OnFailure" and life.exit_code)
        exit_step = _at(Act.CRASH if again else Act.EXIT, began + timedelta(seconds=life.exit_after), now)
        if exit_step.act != Act.NOTHING or ready:
            return exit_step
        ready_step = _at(Act.READY, began + timedelta(seconds=life.ready_after), now)
        return min(exit_step, ready_step, key=lambda step: step.wait or 0.0)
    return Step(Act.NOTHING) if ready else _at(Act.READY, began + timedelta(seconds=life.ready_after), now)


def backoff_seconds(restarts: int) -> float:
    """How long after its exit a container that has restarted so often starts again; the first time, at once."""
    return 0.0 if restarts == 0 else min(FIRST_BACKOFF * 2 ** (restarts - 1), MAX_BACKOFF)


def _at(act: Act, due: datetime, now: datetime) -> Step:
    wait = (due - now).total_seconds()
    return Step(act) if wait <= 0 else Step(Act.NOTHING, wait)
