"""A Job's status: what ends stays ended, and what is said fits together.

A rule is enforced only where what it judges has changed, so that an old fault does not block other updates.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kobune.api.errors import Json
from kobune.api.field_errors import OMITTED, duplicate, invalid, required
from kobune.api.timestamps import parse_time
from kobune.api.validation.checks import Errors, check_not_negative, same
from kobune.api.validation.indexes import count_indexes, first_shared

COUNTS = ("active", "succeeded", "failed", "ready", "terminating")


class Phase(NamedTuple):
    complete: bool
    failed: bool
    failing: bool  # FailureTarget: it will be failed once its pods are gone.
    succeeding: bool  # SuccessCriteriaMet.

    @property
    def finished(self) -> bool:
        return self.complete or self.failed


def check_job_status(new: Json, old: Json, errors: Errors) -> None:
    status, before = new.get("status") or {}, old.get("status") or {}
    spec = new.get("spec") or {}
    now, was = _phase(status), _phase(before)
    for field in COUNTS:
        check_not_negative(status, field, "status", errors)
    _check_uncounted(status.get("uncountedTerminatedPods") or {}, errors)
    changed = {field for field in status.keys() | before.keys() if not same(status.get(field), before.get(field))}
    for detail in _condition_faults(spec, now, was, changed):
        errors.append(invalid("status.conditions", OMITTED, detail))
    _check_times(spec, status, before, now, was, changed, errors)
    _check_counts(spec, status, before, now, was, changed, errors)
    _check_indexes(spec, status, changed, errors)


def _phase(status: Json) -> Phase:
    true = {each.get("type") for each in status.get("conditions") or () if each.get("status") == "True"}
    return Phase("Complete" in true, "Failed" in true, "FailureTarget" in true, "SuccessCriteriaMet" in true)


def _condition_faults(spec: Json, now: Phase, was: Phase, changed: set[str]) -> Iterator[str]:
    completed, failed = now.complete != was.complete, now.failed != was.failed
    failing, succeeding = now.failing != was.failing, now.succeeding != was.succeeding
    if (completed or failed) and now.complete and now.failed:
        yield "cannot set Complete=True and Failed=true conditions"
    if (completed or failing) and now.complete and now.failing:
        yield "cannot set Complete=True and FailureTarget=true conditions"
    if (failed or "failedIndexes" in changed) and now.failed and not now.failing:
        yield "cannot set Failed=True condition without the FailureTarget=true condition"
    if (completed or succeeding) and now.complete and not now.succeeding:
        yield "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
    if now.succeeding and now.failed:
        yield "cannot set SuccessCriteriaMet=True and Failed=true conditions"
    if now.succeeding and now.failing:
        yield "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"
    if "successPolicy" in spec and now.complete and not now.succeeding:
        yield "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
    for name, before, after in (
        ("Failed", was.failed, now.failed), ("Complete", was.complete, now.complete), ("FailureTarget", was.failing, now.failing),
    ):  # fmt: skip
        if before and not after:
            yield f"cannot disable the terminal {name}=True condition"
    if was.succeeding and not now.succeeding:
        yield "cannot disable the SuccessCriteriaMet=True condition"
    if was.complete and not was.succeeding and now.succeeding:
        yield "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"


def _check_times(
    spec: Json, status: Json, before: Json, now: Phase, was: Phase, changed: set[str], errors: Errors
) -> None:
    start, end = status.get("startTime"), status.get("completionTime")
    if now.complete != was.complete or "completionTime" in changed:
        if end is not None and not now.complete:
            detail = "cannot set completionTime when there is no Complete=True condition"
            errors.append(invalid("status.completionTime", end, detail))
        if end is None and now.complete:
            errors.append(required("status.completionTime", "completionTime is required for Complete jobs"))
    if start and end and changed & {"startTime", "completionTime"} and parse_time(end) < parse_time(start):
        errors.append(invalid("status.completionTime", end, "must be equal to or after `startTime`"))
    if end is not None and before.get("completionTime") is not None and end != before["completionTime"]:
        errors.append(invalid("status.completionTime", end, "field is immutable"))
    idle = spec.get("suspend") is True and spec.get("completions") == 0
    if (now.finished != was.finished or "startTime" in changed) and not idle and start is None and now.finished:
        errors.append(required("status.startTime", "startTime is required for finished job"))
    resuming = _suspended(before, "True") and _suspended(status, "False")
    if before.get("startTime") is not None and "startTime" in changed and not resuming and not spec.get("suspend"):
        errors.append(invalid("status.startTime", start, "field is immutable for unsuspended job once set"))


def _check_counts(
    spec: Json, status: Json, before: Json, now: Phase, was: Phase, changed: set[str], errors: Errors
) -> None:
    ended = now.finished != was.finished
    active, ready, terminating = (status.get(field, 0) for field in ("active", "ready", "terminating"))
    if (ended or "active" in changed) and active > 0 and now.finished:
        errors.append(invalid("status.active", active, "active>0 is invalid for finished job"))
    uncounted = status.get("uncountedTerminatedPods") or {}
    if (ended or "uncountedTerminatedPods" in changed) and now.finished and any(uncounted.values()):
        errors.append(invalid("status.uncountedTerminatedPods", uncounted, "must be empty for finished job"))
    if (ended or "terminating" in changed) and terminating > 0 and now.finished:
        errors.append(invalid("status.terminating", terminating, "terminating>0 is invalid for finished job"))
    if changed & {"ready", "active"} and ready > active:
        errors.append(invalid("status.ready", ready, "cannot set more ready pods than active"))
    if status.get("failed", 0) < before.get("failed", 0):
        errors.append(invalid("status.failed", status.get("failed", 0), "cannot decrease the failed counter"))
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if not elastic and status.get("succeeded", 0) < before.get("succeeded", 0):
        errors.append(invalid("status.succeeded", status.get("succeeded", 0), "cannot decrease the succeeded counter"))


def _check_indexes(spec: Json, status: Json, changed: set[str], errors: Errors) -> None:
    completions, completed, failed = (
        spec.get("completions"),
        status.get("completedIndexes") or "",
        status.get("failedIndexes"),
    )
    if "completedIndexes" in changed:
        _check_format(completed, completions, "completedIndexes", errors)
        if completed and spec.get("completionMode") != "Indexed":
            detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
            errors.append(invalid("status.completedIndexes", completed, detail))
    if "failedIndexes" in changed and failed is not None:
        if "backoffLimitPerIndex" in spec:
            _check_format(failed, completions, "failedIndexes", errors)
        else:
            detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            errors.append(invalid("status.failedIndexes", failed, detail))
    if changed & {"failedIndexes", "completedIndexes"} and completions is not None and failed:
        shared = first_shared(completed, failed, completions)
        if shared is not None:
            detail = f"failedIndexes and completedIndexes overlap at index: {shared}"
            errors.append(invalid("status.failedIndexes", failed, detail))


def _check_format(text: str, completions: Any, field: str, errors: Errors) -> None:
    if completions is not None:
        try:
            count_indexes(text, completions)
        except ValueError as error:
            errors.append(invalid(f"status.{field}", text, f"error parsing {field}: {error}"))


def _check_uncounted(uncounted: Json, errors: Errors) -> None:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for index, uid in enumerate(uncounted.get(field) or ()):
            at = f"status.uncountedTerminatedPods.{field}[{index}]"
            if not uid:
                errors.append(invalid(at, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(at, uid))
            seen.add(uid)


def _suspended(status: Json, value: str) -> bool:
    conditions = status.get("conditions") or ()
    return any(each.get("type") == "Suspended" and each.get("status") == value for each in conditions)
