"""A Deployment's status: counts, Available, Progressing with its deadline, ReplicaFailure. All pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from kobune.api.objects.apps import Deployment, DeploymentStatus, ReplicaSet
from kobune.api.objects.meta import Condition, find_condition
from kobune.controlplane.controllers.conditions import with_condition, without_condition
from kobune.controlplane.controllers.deployment.rolling import bounds_of, total

NO_DEADLINE = 2**31 - 1  # A progressDeadlineSeconds of this is none. Source: upstream HasProgressDeadline.


class Note(NamedTuple):
    """What a pass did that the Progressing condition tells at once."""

    status: str
    reason: str
    message: str


def has_deadline(deployment: Deployment) -> bool:
    return deployment.spec.progress_deadline_seconds not in (None, NO_DEADLINE)


def conditions_on_pause(deployment: Deployment, now: datetime) -> list[Condition]:
    """Pausing and resuming are told, so that the time paused does not count against the deadline."""
    conditions = deployment.status.conditions
    known = find_condition(conditions, "Progressing")
    reason = known.reason if known else ""
    if not has_deadline(deployment) or reason == "ProgressDeadlineExceeded":
        return conditions
    if deployment.spec.paused and reason != "DeploymentPaused":
        message = "Deployment is paused"
        return with_condition(conditions, "Progressing", "Unknown", "DeploymentPaused", message, now, updated=True)
    if not deployment.spec.paused and reason == "DeploymentPaused":
        message = "Deployment is resumed"
        return with_condition(conditions, "Progressing", "Unknown", "DeploymentResumed", message, now, updated=True)
    return conditions


def with_note(conditions: list[Condition], note: Note, now: datetime) -> list[Condition]:
    """The conditions with the note as Progressing."""
    return with_condition(conditions, "Progressing", *note, now, updated=True)


def status_counts(
    deployment: Deployment,
    sets: Sequence[ReplicaSet],
    new: ReplicaSet | None,
    conditions: list[Condition],
    now: datetime,
) -> DeploymentStatus:
    """Counts, and the Available condition. `conditions` are those so far."""
    available = sum(each.status.available_replicas for each in sets)
    if available >= deployment.spec.replicas - bounds_of(deployment).missing:
        verdict = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        verdict = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    terminating = [each.status.terminating_replicas for each in sets if each.status.observed_generation]
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(each.status.replicas for each in sets),
        updated_replicas=new.status.replicas if new else 0,
        ready_replicas=sum(each.status.ready_replicas for each in sets),
        available_replicas=available,
        unavailable_replicas=max(total(sets) - available, 0),
        terminating_replicas=None if None in terminating else sum(each or 0 for each in terminating),
        collision_count=deployment.status.collision_count,
        conditions=with_condition(conditions, "Available", *verdict, now, updated=True),
    )


def with_progress(
    deployment: Deployment, status: DeploymentStatus, sets: Sequence[ReplicaSet], new: ReplicaSet | None, now: datetime
) -> DeploymentStatus:
    """The status with its Progressing and ReplicaFailure conditions brought up to date. Source: syncRolloutStatus."""
    conditions = status.conditions
    known = find_condition(conditions, "Progressing")
    if not has_deadline(deployment):
        conditions = without_condition(conditions, "Progressing")
    elif not (status.replicas == status.updated_replicas and known and known.reason == "NewReplicaSetAvailable"):
        subject = f'ReplicaSet "{new.name}"' if new else f'Deployment "{deployment.name}"'
        if is_complete(deployment, status):
            note = Note("True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.")
            conditions = with_note(conditions, note, now)
        elif _has_progressed(deployment.status, status):
            since = known.last_transition_time if known and known.status == "True" else now.replace(microsecond=0)
            moving = Condition(
                type="Progressing",
                status="True",
                reason="ReplicaSetUpdated",
                message=f"{subject} is progressing.",
                last_transition_time=since,
                last_update_time=now.replace(microsecond=0),
            )
            conditions = [*without_condition(conditions, "Progressing"), moving]
        elif _has_timed_out(deployment, known, now):
            note = Note("False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.")
            conditions = with_note(conditions, note, now)
    failure = _failure(sets, new)
    if failure is None:
        conditions = without_condition(conditions, "ReplicaFailure")
    else:
        verdict = (failure.status, failure.reason, failure.message)
        conditions = with_condition(conditions, "ReplicaFailure", *verdict, now, updated=True)
    return msgspec.structs.replace(status, conditions=conditions)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """All wanted pods are new and available, and no others run."""
    counts = (status.updated_replicas, status.replicas, status.available_replicas)
    return all(count == deployment.spec.replicas for count in counts) and (
        status.observed_generation >= deployment.metadata.generation
    )


def seconds_to_deadline(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """When to look again for lack of progress; None when there is nothing to wait for."""
    known = find_condition(status.conditions, "Progressing")
    deadline = deployment.spec.progress_deadline_seconds
    if deadline is None or not has_deadline(deployment) or known is None or known.last_update_time is None:
        return None
    if is_complete(deployment, status) or known.reason == "ProgressDeadlineExceeded" or deployment.spec.paused:
        return None
    # A second more, because the condition's time has lost its fraction.
    return max((known.last_update_time - now).total_seconds() + deadline, 0.0) + 1.0


def _has_progressed(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def _has_timed_out(deployment: Deployment, known: Condition | None, now: datetime) -> bool:
    deadline = deployment.spec.progress_deadline_seconds
    if known is None or deadline is None or known.reason == "NewReplicaSetAvailable":
        return False
    if known.reason == "ProgressDeadlineExceeded":
        return True
    return known.last_update_time is not None and known.last_update_time + timedelta(seconds=deadline) < now


def _failure(sets: Sequence[ReplicaSet], new: ReplicaSet | None) -> Condition | None:
    """A ReplicaSet's failure; the newest's before any other's."""
    for each in (*([new] if new else []), *sets):
        found = find_condition(each.status.conditions, "ReplicaFailure")
        if found is not None:
            return found
    return None
