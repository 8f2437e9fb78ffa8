"""Job: runs pods until enough have succeeded, counting each exactly once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from kobune.api.errors import ApiError, Json, NotFound
from kobune.api.objects.batch import Job
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Condition, Key, find_condition, is_true
from kobune.api.selectors import labels_from_json
from kobune.api.timestamps import format_time
from kobune.client.client import Patch
from kobune.controlplane.controllers.conditions import omit_zeros, to_json
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps, Owns
from kobune.controlplane.controllers.job.indexes import FAILURES, INDEX, failures_before, format_indexes, index_of
from kobune.controlplane.controllers.job.tally import (
    FINALIZER,
    Tally,
    Verdict,
    has_failed,
    is_complete,
    is_indexed,
    pending_indexes,
    replaces_failed_only,
    seconds_to_deadline,
    surplus_active,
    tally,
    verdict,
    wanted_active,
)
from kobune.controlplane.controllers.ownership import claim, index_by_namespace, owners_matching
from kobune.controlplane.controllers.pods import (
    Unseen,
    create_pod,
    delete_pod,
    first_to_delete,
    index_by_controller,
    pod_manifest,
    watch_deletions,
)

BEHIND_SECONDS = 1.0
BURST = 500  # Pods made or removed per pass. Source: upstream MaxPodCreateDeletePerSync.
MAX_UNCOUNTED = 500  # Pods counted per pass, so that the status stays small. Source: upstream MaxUncountedPods.
FIRST_BACKOFF, MAX_BACKOFF = 10.0, 600.0  # Seconds after a failure. Source: upstream DefaultJobPodFailureBackOff.
OURS = "kubernetes.io/job-controller"
NAME_LABEL = "batch.kubernetes.io/job-name"


class Backoff(NamedTuple):
    failures: int  # Since the last success.
    since: float  # The last failure, on the monotonic clock.


class Backoffs:
    """Failures in a row by Job; forgotten with the process, as upstream forgets them."""

    def __init__(self) -> None:
        self.known: dict[Key, Backoff] = {}

    def note(self, key: Key, now: Tally, moment: float) -> None:
        """Take this pass's newly finished pods into account."""
        before = self.known.get(key, Backoff(0, 0.0))
        if now.new_succeeded:
            before = Backoff(0, 0.0)
        if now.new_failed:
            before = Backoff(before.failures + len(now.new_failed), moment)
        if before.failures:
            self.known[key] = before
        else:
            self.known.pop(key, None)

    def wait(self, key: Key, moment: float) -> float:
        """Seconds until the next pod may be made."""
        failures, since = self.known.get(key, Backoff(0, 0.0))
        return since + backoff_seconds(failures) - moment if failures else 0.0


def backoff_seconds(failures: int) -> float:
    """10 s after the first failure, doubled with each, 10 minutes at most."""
    return min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 30), MAX_BACKOFF) if failures else 0.0


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass: count what has finished, decide whether the Job is over, and make or remove pods."""
    job = context.informer(Job).get(key)
    if job is None or job.finish is not None:
        context.own(Backoffs).known.pop(key, None)
        await _free_pods(context, key, job)
        return None
    if job.spec.managed_by not in (None, OURS):
        return None
    unseen, moment = context.own(Unseen), context.clock.monotonic()
    for view in (Pod, Job):
        if unseen.is_behind(key, view, context.informer(view), moment):
            return BEHIND_SECONDS
    pods = await claim(context, job, labels_from_json(job.spec.selector or None), Pod)
    now = tally(job, pods)
    backoffs = context.own(Backoffs)
    backoffs.note(key, now, moment)
    end = verdict(job, pods, now, context.clock.now())
    retry = seconds_to_deadline(job, context.clock.now())
    failure: BaseException | None = None
    active, terminating = len(now.active), now.terminating
    if end is not None:
        removed = await _remove(context, job, now.active)
        active, terminating = active - len(removed), terminating + len(removed)
        if active:
            end, failure = None, ApiError("some active pods could not be deleted")
    elif job.is_deleting:
        pass
    else:
        try:
            change, wait = await _manage(context, job, now, backoffs.wait(key, moment))
        except* ApiError as errors:
            failure, change, wait = errors, 0, None
        active += change
        terminating += max(-change, 0)
        retry = min((each for each in (retry, wait) if each is not None), default=None)
        if failure is None and is_complete(job, now, active):
            end = Verdict("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
    ready = sum(pod.is_ready for pod in now.active) if end is None and not job.spec.suspend else 0
    await _account(context, job, pods, now, end, Numbers(active, min(ready, active), terminating))
    if failure is not None:
        raise failure
    return retry


class Numbers(NamedTuple):
    active: int
    ready: int
    terminating: int


class Change(NamedTuple):
    """What to do about a Job's pods: make or remove, never both."""

    create: Sequence[int | None] = ()  # The index of each new pod; None where the Job is not indexed.
    delete: Sequence[Pod] = ()
    later: float | None = None  # Seconds until more may be made.


def plan(job: Job, now: Tally, wait: float, moment: datetime) -> Change:
    """The pods to make or to remove for a Job that goes on. `wait`: seconds that its back-off still takes."""
    wanted, active = wanted_active(job, now), len(now.active)
    surplus = surplus_active(job, now)
    rest = [pod for pod in now.active if pod not in surplus]
    too_many = max(active - wanted, 0)
    if too_many > len(surplus):
        surplus += first_to_delete(rest, rest, moment)[: too_many - len(surplus)]
    if surplus:
        return Change(delete=surplus[:BURST])
    missing = wanted - active - (now.terminating if replaces_failed_only(job) else 0)
    if missing <= 0:
        return Change()
    per_index = job.spec.backoff_limit_per_index is not None
    if wait > 0 and not per_index:
        return Change(later=wait)
    if not is_indexed(job):
        return Change(create=[None] * min(missing, BURST))
    indexes = pending_indexes(job, now, min(missing, BURST))
    if not per_index:
        return Change(create=[*indexes])
    due, later = _due_indexes(now, indexes, moment)
    return Change(create=[*due], later=later)


async def _manage(context: Context, job: Job, now: Tally, wait: float) -> tuple[int, float | None]:
    """Make or remove pods. Returns by how much the number of active ones changes, and when to try again."""
    change = plan(job, now, wait, context.clock.now())
    if change.delete:
        return -len(await _remove(context, job, change.delete, finalize=True)), None
    return await _make(context, job, now, change.create), change.later


def _due_indexes(now: Tally, indexes: Sequence[int], moment: datetime) -> tuple[list[int], float | None]:
    """Those whose back-off is over, and the seconds until the next one's is."""
    due, waits = [], []
    for index in indexes:
        last = now.last_failures.get(index)
        if last is not None:
            passed = (moment - finished_at(last, moment)).total_seconds()
            left = backoff_seconds(failures_before(last) + 1) - passed
            if left > 0:
                waits.append(left)
                continue
        due.append(index)
    return due, min(waits, default=None)


def finished_at(pod: Pod, now: datetime) -> datetime:
    """When the pod's last container ended; else when it was marked for deletion, else now."""
    ends = [
        status.state.terminated.finished_at
        for status in pod.status.container_statuses
        if status.state.terminated is not None and status.state.terminated.finished_at is not None
    ]
    ready = find_condition(pod.status.conditions, "Ready")
    changed = ready.last_transition_time if ready is not None else None
    return max(ends) if ends else pod.metadata.deletion_timestamp or changed or now


def job_pod(job: Job, now: Tally, index: int | None) -> Json:
    """The pod of a Job; of an indexed one it knows its index by annotation, label, host name and environment."""
    manifest = pod_manifest(bytes(job.spec.template), job)
    metadata = manifest["metadata"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
    if index is None:
        return manifest
    metadata["generateName"] = f"{job.name}-{index}-"
    metadata["labels"][INDEX] = str(index)
    metadata["annotations"] = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    if job.spec.backoff_limit_per_index is not None:
        last = now.last_failures.get(index)
        counted = failures_before(last) + now.failures[last.uid].counts if last is not None else 0
        metadata["annotations"][FAILURES] = str(counted)
    spec = manifest["spec"]
    spec["hostname"] = f"{job.name}-{index}"
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        environment = container.setdefault("env", [])
        if not any(each.get("name") == variable["name"] for each in environment):
            environment.append(variable)
    return manifest


async def _make(context: Context, job: Job, now: Tally, indexes: Sequence[int | None]) -> int:
    """Make a pod for each index in growing batches; returns how many."""
    made, batch = 0, 1
    while made < len(indexes):
        async with asyncio.TaskGroup() as group:
            for index in indexes[made : made + batch]:
                group.create_task(create_pod(context, job, job_pod(job, now, index)))
        made = min(made + batch, len(indexes))
        batch *= 2
    return made


async def _remove(context: Context, job: Job, pods: Sequence[Pod], *, finalize: bool = False) -> list[Pod]:
    """Delete pods; with `finalize` they will not be counted at all."""

    async def remove(pod: Pod) -> Pod:
        if finalize:
            await _free(context, pod, job)
        await delete_pod(context, job, pod)
        return pod

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(remove(pod)) for pod in pods]
    return [task.result() for task in tasks]


async def _account(
    context: Context, job: Job, pods: Sequence[Pod], now: Tally, end: Verdict | None, numbers: Numbers
) -> None:
    """Write the status, free the pods that are counted, and write the status again.

    First the uids of finished pods enter `uncountedTerminatedPods`; then their finalizers go; only then do they move
    into the counters. Whatever fails in between, the next pass finds each pod in exactly one of those places.
    """
    held = {pod.uid: pod for pod in pods if FINALIZER in pod.metadata.finalizers}
    uncounted = job.status.uncounted_terminated_pods
    before_succeeded = list(uncounted.succeeded if uncounted else ())
    before_failed = list(uncounted.failed if uncounted else ())
    # What is listed and no longer held was freed in an earlier pass: count it now.
    succeeded = job.status.succeeded + sum(uid not in held for uid in before_succeeded)
    failed = job.status.failed + sum(uid not in held for uid in before_failed)
    list_succeeded = [uid for uid in before_succeeded if uid in held]
    list_failed = [uid for uid in before_failed if uid in held]
    to_free = [held[uid] for uid in (*list_succeeded, *list_failed)]
    new = 0
    for pod in held.values():
        if pod.uid in list_succeeded or pod.uid in list_failed or not _may_free(job, now, pod, end):
            continue
        if new >= MAX_UNCOUNTED:
            break
        to_free.append(pod)
        new += 1
        if pod.status.phase == "Succeeded":
            if not is_indexed(job):
                list_succeeded.append(pod.uid)
        elif has_failed(job, pod) or (end is not None and end.is_failure):
            failure = now.failures.get(pod.uid)
            if failure is None or failure.counts:
                list_failed.append(pod.uid)
    status = _status(context, job, now, end, numbers)
    if is_indexed(job):
        succeeded = len(now.succeeded_indexes)
    all_seen = new < MAX_UNCOUNTED
    first = {**status, "uncountedTerminatedPods": _uncounted(list_succeeded, list_failed)}
    first |= omit_zeros({"succeeded": succeeded, "failed": failed})
    if not to_free:
        await _write(context, job, first, end if all_seen else None, numbers)
        return
    await _write(context, job, first, None, numbers)
    async with asyncio.TaskGroup() as group:
        for pod in to_free:
            group.create_task(_free(context, pod, job))
    if not is_indexed(job):
        succeeded += len(list_succeeded)
    second = {**status, "uncountedTerminatedPods": _uncounted([], [])}
    second |= omit_zeros({"succeeded": succeeded, "failed": failed + len(list_failed)})
    await _write(context, job, second, end if all_seen else None, numbers)


def _may_free(job: Job, now: Tally, pod: Pod, end: Verdict | None) -> bool:
    """The pod has finished and may be counted; the last failure of an index waits for its successor."""
    if job.is_deleting or end is not None or pod.status.phase == "Succeeded":
        return True
    if not has_failed(job, pod):
        return False
    index = index_of(pod)
    return index is None or now.last_failures.get(index) is not pod


def _status(context: Context, job: Job, now: Tally, end: Verdict | None, numbers: Numbers) -> Json:
    """The status but for the counters."""
    moment = context.clock.now().replace(microsecond=0)
    status: Json = {
        **omit_zeros({"active": numbers.active}),
        "ready": numbers.ready,
        "terminating": numbers.terminating,
    }
    conditions = list(job.status.conditions)
    suspended = is_true(conditions, "Suspended")
    if end is not None:
        if find_condition(conditions, end.kind) is None:
            conditions.append(_condition(end.kind, end.reason, end.message, moment))
    elif job.spec.suspend and not suspended:
        conditions = _replace(conditions, _condition("Suspended", "JobSuspended", "Job suspended", moment))
        context.events.normal(job, "Suspended", "Job suspended")
        status["startTime"] = None
    elif not job.spec.suspend and suspended:
        resumed = _condition("Suspended", "JobResumed", "Job resumed", moment, status="False")
        conditions = _replace(conditions, resumed)
        context.events.normal(job, "Resumed", "Job resumed")
        status["startTime"] = format_time(moment)
    if job.status.start_time is None and not job.spec.suspend:
        status["startTime"] = format_time(moment)
    if conditions != job.status.conditions:
        status["conditions"] = to_json(conditions)
    if is_indexed(job):
        status["completedIndexes"] = format_indexes(now.succeeded_indexes) or None
        if job.spec.backoff_limit_per_index is not None:
            status["failedIndexes"] = format_indexes(now.failed_indexes)
    return status


async def _write(context: Context, job: Job, status: Json, end: Verdict | None, numbers: Numbers) -> None:
    """Write the status if it differs; with `end`, and nothing still terminating, the Job is over."""
    if end is not None and numbers.terminating == 0:
        moment = context.clock.now().replace(microsecond=0)
        conditions = status.get("conditions") or to_json(job.status.conditions)
        final = _condition(end.final, end.reason, end.message, moment)
        status = {**status, "conditions": [*conditions, *to_json([final])]}
        if not end.is_failure:
            status["completionTime"] = format_time(moment)
        if end.is_failure:
            context.events.warning(job, end.reason, end.message)
        else:
            context.events.normal(job, "Completed", "Job completed")
    if _differs(job, status):
        metadata = {"uid": job.uid}
        patched = await context.client.patch(
            Job, job.key, {"metadata": metadata, "status": status}, subresource="status"
        )
        context.own(Unseen).wrote(job.key, patched, context.clock.monotonic())


def _differs(job: Job, status: Json) -> bool:
    old = job.status
    uncounted = old.uncounted_terminated_pods
    before: Json = {
        "active": old.active,
        "ready": old.ready,
        "terminating": old.terminating,
        "succeeded": old.succeeded,
        "failed": old.failed,
        "startTime": format_time(old.start_time) if old.start_time else None,
        "completedIndexes": old.completed_indexes,
        "failedIndexes": old.failed_indexes,
        "uncountedTerminatedPods": _uncounted(uncounted.succeeded, uncounted.failed) if uncounted else None,
        "conditions": to_json(old.conditions),
    }
    return any((before.get(name) or 0) != (value or 0) for name, value in status.items())


def _uncounted(succeeded: Sequence[str], failed: Sequence[str]) -> Json:
    # Null where there is none, so that the merge empties the list.
    return {"succeeded": list(succeeded) or None, "failed": list(failed) or None}


def _condition(kind: str, reason: str, message: str, moment: datetime, *, status: str = "True") -> Condition:
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_probe_time=moment, last_transition_time=moment
    )


def _replace(conditions: Sequence[Condition], new: Condition) -> list[Condition]:
    return [*(each for each in conditions if each.type != new.type), new]


async def _free(context: Context, pod: Pod, job: Job | None) -> None:
    """Take the tracking finalizer off the pod."""
    if FINALIZER not in pod.metadata.finalizers:
        return
    patch = {"metadata": {"uid": pod.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    with suppress(NotFound):
        freed = await context.client.patch(Pod, pod.key, patch, how=Patch.STRATEGIC)
        if job is not None:
            context.own(Unseen).wrote(job.key, freed, context.clock.monotonic())


async def _free_pods(context: Context, key: Key, job: Job | None) -> None:
    """Free the pods of a Job that is gone or over; nobody will count them."""
    async with asyncio.TaskGroup() as group:
        for pod in context.informer(Pod).index("tracked", key):
            group.create_task(_free(context, pod, job))


def _tracked(pod: Pod) -> tuple[Key, ...]:
    name = pod.metadata.labels.get(NAME_LABEL) or pod.metadata.labels.get("job-name")
    return (Key(pod.namespace, name),) if name and FINALIZER in pod.metadata.finalizers else ()


def _job_of_tracked(_context: Context, old: Pod | None, new: Pod | None) -> tuple[Key, ...]:
    return _tracked(new) if new is not None else ()


def _prepare(context: Context) -> None:
    index_by_controller(context)
    index_by_namespace(context, Job)
    context.informer(Pod).add_index("tracked", _tracked)
    watch_deletions(context)


CONTROLLER = Controller(
    "job-controller",
    (
        For(Job),
        Owns(Pod),
        Maps(Pod, owners_matching(Job, lambda owner: labels_from_json(owner.spec.selector or None))),
        Maps(Pod, _job_of_tracked),
    ),
    reconcile,
    prepare=_prepare,
)
