"""What a Job's pods amount to: which finished pods are new, what is counted, whether and why it is over. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import orjson

from kobune.api.objects.batch import Job
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import find_condition
from kobune.controlplane.controllers.job.indexes import failures_before, index_of, parse_indexes
from kobune.controlplane.controllers.job.policies import Failure, judge_failure, success_by_policy

FINALIZER = "batch.kubernetes.io/job-tracking"  # On every pod of a Job until the pod is counted.


class Verdict(NamedTuple):
    """Why the Job ends. `kind` is the condition that announces the end: FailureTarget or SuccessCriteriaMet."""

    kind: str
    reason: str
    message: str

    @property
    def is_failure(self) -> bool:
        return self.kind == "FailureTarget"

    @property
    def final(self) -> str:
        """The condition that is the end."""
        return "Failed" if self.is_failure else "Complete"


@dataclass(slots=True)
class Tally:
    """Counts of one pass. Pods are tracked by a finalizer until counted, so that none is counted twice or forgotten."""

    active: list[Pod]
    terminating: int
    new_succeeded: list[Pod]
    new_failed: list[Pod]
    succeeded: int
    failed: int
    succeeded_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    # The last failed pod of each index that is to be tried again: it carries the index's count of failures.
    last_failures: dict[int, Pod] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)  # By uid of failed pods.


def tally(job: Job, pods: Sequence[Pod]) -> Tally:
    """Count the Job's pods."""
    uncounted = job.status.uncounted_terminated_pods
    counted_succeeded = set(uncounted.succeeded if uncounted else ())
    counted_failed = set(uncounted.failed if uncounted else ())
    tracked = [pod for pod in pods if FINALIZER in pod.metadata.finalizers and _is_in_range(job, pod)]
    new_succeeded = [pod for pod in tracked if pod.status.phase == "Succeeded" and pod.uid not in counted_succeeded]
    new_failed = [pod for pod in tracked if has_failed(job, pod) and pod.uid not in counted_failed]
    failures = {pod.uid: judge_failure(job.spec.pod_failure_policy, pod) for pod in pods if has_failed(job, pod)}
    counting = sum(failures[pod.uid].counts for pod in new_failed)
    result = Tally(
        active=[pod for pod in pods if pod.is_active],
        terminating=sum(pod.is_deleting and not pod.is_finished for pod in pods),
        new_succeeded=new_succeeded,
        new_failed=new_failed,
        succeeded=job.status.succeeded + len(new_succeeded) + len(counted_succeeded),
        failed=job.status.failed + counting + len(counted_failed),
        failures=failures,
    )
    if is_indexed(job):
        _tally_indexes(job, pods, new_succeeded, result)
    return result


def verdict(job: Job, pods: Sequence[Pod], now: Tally, moment: datetime) -> Verdict | None:
    """Whether the Job is over, but for completion by number, which waits for the active pods. Source: upstream syncJob."""
    for kind in ("SuccessCriteriaMet", "FailureTarget"):
        known = find_condition(job.status.conditions, kind)
        if known is not None and known.status == "True":
            return Verdict(kind, known.reason, known.message)
    for pod in pods:
        if now.failures.get(pod.uid, Failure(True)).fails_job:
            return Verdict("FailureTarget", "PodFailurePolicy", now.failures[pod.uid].fails_job)
    if now.failed > job.spec.backoff_limit or _restarted_too_often(job, pods):
        return Verdict("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = seconds_to_deadline(job, moment)
    if left is not None and left <= 0:
        return Verdict("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")
    if is_indexed(job):
        completions, failed = job.spec.completions or 0, len(now.failed_indexes)
        if job.spec.backoff_limit_per_index is not None:
            most = job.spec.max_failed_indexes
            if most is not None and failed > most:
                message = "Job has exceeded the specified maximal number of failed indexes"
                return Verdict("FailureTarget", "MaxFailedIndexesExceeded", message)
            if failed and failed + len(now.succeeded_indexes) >= completions:
                return Verdict("FailureTarget", "FailedIndexes", "Job has failed indexes")
        message_of_success = success_by_policy(job, now.succeeded_indexes)
        if message_of_success is not None:
            return Verdict("SuccessCriteriaMet", "SuccessPolicy", message_of_success)
    return None


def is_complete(job: Job, now: Tally, active: int) -> bool:
    """Enough pods have succeeded, and no other runs."""
    if job.spec.completions is None:
        return now.succeeded > 0 and active == 0
    return now.succeeded >= job.spec.completions and active == 0


def wanted_active(job: Job, now: Tally) -> int:
    """How many pods should run. Source: upstream manageJob."""
    if job.spec.suspend:
        return 0
    if job.spec.completions is None:
        return len(now.active) if now.succeeded > 0 else job.spec.parallelism
    left = job.spec.completions - now.succeeded - len(now.failed_indexes)
    return max(min(left, job.spec.parallelism), 0)


def pending_indexes(job: Job, now: Tally, count: int) -> list[int]:
    """The lowest indexes that neither are done nor being worked on."""
    busy = {index_of(pod) for pod in now.active}
    done = now.succeeded_indexes | now.failed_indexes
    return [each for each in range(job.spec.completions or 0) if each not in done and each not in busy][:count]


def surplus_active(job: Job, now: Tally) -> list[Pod]:
    """Active pods of an indexed Job that work on what is done, out of range, or worked on by another already."""
    if not is_indexed(job):
        return []
    seen: set[int] = set()
    surplus = []
    for pod in sorted(
        now.active, key=lambda each: (not each.is_ready, str(each.metadata.creation_timestamp), each.uid)
    ):
        index = index_of(pod)
        if index is None or index >= (job.spec.completions or 0) or index in seen or index in now.succeeded_indexes:
            surplus.append(pod)
        else:
            seen.add(index)
    return surplus


def has_failed(job: Job, pod: Pod) -> bool:
    """A pod being deleted counts as failed too, unless the Job waits to see how it ends."""
    if pod.status.phase == "Failed":
        return True
    return not replaces_failed_only(job) and pod.is_deleting and pod.status.phase != "Succeeded"


def replaces_failed_only(job: Job) -> bool:
    """Terminating pods are not replaced before they have ended."""
    return job.spec.pod_replacement_policy == "Failed" or job.spec.pod_failure_policy is not None


def is_indexed(job: Job) -> bool:
    return job.spec.completion_mode == "Indexed"


def seconds_to_deadline(job: Job, moment: datetime) -> float | None:
    """Until activeDeadlineSeconds is over; None without one or before the start."""
    deadline, start = job.spec.active_deadline_seconds, job.status.start_time
    if deadline is None or start is None or job.spec.suspend:
        return None
    return deadline - (moment - start).total_seconds()


def _tally_indexes(job: Job, pods: Sequence[Pod], new_succeeded: Sequence[Pod], result: Tally) -> None:
    completions = job.spec.completions or 0
    result.succeeded_indexes = parse_indexes(job.status.completed_indexes, completions)
    result.succeeded_indexes |= {index for pod in new_succeeded if (index := index_of(pod)) is not None}
    result.succeeded = len(result.succeeded_indexes)
    limit = job.spec.backoff_limit_per_index
    if limit is None:
        return
    result.failed_indexes = parse_indexes(job.status.failed_indexes or "", completions)
    tries = {index_of(pod): failures_before(pod) for pod in result.active}
    for pod in pods:
        index = index_of(pod)
        if (
            index is None
            or index >= completions
            or not has_failed(job, pod)
            or FINALIZER not in pod.metadata.finalizers
        ):
            continue
        failure = result.failures[pod.uid]
        if failure.fails_index or (failure.counts and failures_before(pod) >= limit):
            if index not in result.succeeded_indexes:
                result.failed_indexes.add(index)
        elif index not in tries or tries[index] <= failures_before(pod) - (not failure.counts):
            known = result.last_failures.get(index)
            if known is None or failures_before(known) < failures_before(pod):
                result.last_failures[index] = pod
    for index in result.failed_indexes | result.succeeded_indexes:
        result.last_failures.pop(index, None)


def _is_in_range(job: Job, pod: Pod) -> bool:
    if not is_indexed(job):
        return True
    index = index_of(pod)
    return index is not None and index < (job.spec.completions or 0)


def _restarted_too_often(job: Job, pods: Sequence[Pod]) -> bool:
    """Pods that restart in place count their restarts."""
    running = [pod for pod in pods if pod.status.phase in ("Running", "Pending")]
    restarts = sum(
        status.restart_count
        for pod in running
        for status in (*pod.status.container_statuses, *pod.status.init_container_statuses)
    )
    if restarts == 0 or (orjson.loads(bytes(job.spec.template)).get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    return restarts >= max(job.spec.backoff_limit, 1)
