"""A Job's pod failure policy and success policy. Pure."""

from typing import NamedTuple

from kobune.api.objects.batch import Job, OnExitCodes, PodFailurePolicy, PodFailureRule
from kobune.api.objects.core import AnyContainerStatus
from kobune.api.objects.lean import Pod
from kobune.controlplane.controllers.job.indexes import parse_indexes


class Failure(NamedTuple):
    """What the policy says of a failed pod."""

    counts: bool  # Towards the back-off limit.
    fails_job: str = ""  # The message, when it fails the whole Job.
    fails_index: bool = False


def judge_failure(policy: PodFailurePolicy | None, pod: Pod) -> Failure:
    """The first rule that matches decides; without one the failure counts. Source: upstream matchPodFailurePolicy."""
    for number, rule in enumerate(policy.rules if policy else ()):
        because = _match(rule, pod)
        if because is None:
            continue
        if rule.action == "Ignore":
            return Failure(counts=False)
        if rule.action == "FailIndex":
            return Failure(counts=True, fails_index=True)
        if rule.action == "FailJob":
            return Failure(counts=True, fails_job=f"{because} matching FailJob rule at index {number}")
        if rule.action == "Count":
            return Failure(counts=True)
    return Failure(counts=True)


def success_by_policy(job: Job, succeeded: set[int]) -> str | None:
    """The message when the success policy is met; None when it is not. Source: upstream matchSuccessPolicy."""
    for number, rule in enumerate(job.spec.success_policy.rules if job.spec.success_policy and succeeded else ()):
        if rule.succeeded_indexes is not None:
            wanted = parse_indexes(rule.succeeded_indexes, job.spec.completions or 0)
            if not wanted:
                continue
            have = len(wanted & succeeded)
            met = have == len(wanted) or (rule.succeeded_count is not None and have >= rule.succeeded_count)
        else:
            met = rule.succeeded_count is not None and len(succeeded) >= rule.succeeded_count
        if met:
            return f"Matched rules at index {number}"
    return None


def _match(rule: PodFailureRule, pod: Pod) -> str | None:
    """Why the rule matches, as the message begins."""
    if rule.on_exit_codes is not None:
        for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
            code = _failing_code(status, rule.on_exit_codes)
            if code is not None:
                return f"Container {status.name} for pod {pod.key} failed with exit code {code}"
        return None
    for condition in pod.status.conditions:
        for pattern in rule.on_pod_conditions or ():
            if (condition.type, condition.status) == (pattern.type, pattern.status):
                return f"Pod {pod.key} has condition {condition.type}"
    return None


def _failing_code(status: AnyContainerStatus, wanted: OnExitCodes) -> int | None:
    ended = status.state.terminated
    if ended is None or ended.exit_code == 0 or wanted.container_name not in (None, status.name):
        return None
    return ended.exit_code if (ended.exit_code in wanted.values) == (wanted.operator == "In") else None
