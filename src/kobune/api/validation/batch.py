"""Jobs and CronJobs."""

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kobune.api import names
from kobune.api.cron import parse_schedule
from kobune.api.errors import Json
from kobune.api.field_errors import (
    IMMUTABLE,
    OMITTED,
    duplicate,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
    too_many,
)
from kobune.api.validation.checks import Errors, check_immutable, check_name, check_not_negative, check_one_of, same
from kobune.api.validation.domains import check_domain_path
from kobune.api.validation.indexes import count_indexes
from kobune.api.validation.job_status import check_job_status
from kobune.api.validation.kinds import Rules
from kobune.api.validation.pods import check_template
from kobune.api.validation.selectors import check_label_selector, compiled

MAX_PARALLELISM = MAX_FAILED = SOFT_LIMIT = 100_000
HIGH_LIMIT = 10_000  # Of parallelism and failed indexes, with more completions than the soft limit.
MAX_RULES, MAX_EXIT_CODES, MAX_INDEXES_TEXT, LONGEST_MANAGER, LONGEST_CRON_NAME = 20, 255, 64 * 1024, 63, 52
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
    "maxFailedIndexes",
)  # fmt: skip
FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
# The labels that a job's selector is made of: by these names, and by their older ones.
LABELS = (
    ("controller-uid", "uid"), ("job-name", "name"), ("batch.kubernetes.io/controller-uid", "uid"), ("batch.kubernetes.io/job-name", "name"),
)  # fmt: skip
ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}", re.ASCII)


def check_job(job: Json, errors: Errors) -> None:
    spec, metadata = job.get("spec") or {}, job.get("metadata") or {}
    _check_generated_selector(spec, metadata, errors)
    _check_selected_spec(spec, errors)
    completions = spec.get("completions", 0)
    if spec.get("completionMode") == "Indexed" and completions > 0:
        longest = f"{metadata.get('name') or ''}-{completions - 1}"
        if names.is_dns1123_label(longest):
            detail = f"will not able to create pod with invalid DNS label: {longest}"
            errors.append(invalid("metadata.name", metadata.get("name") or "", detail))


def check_job_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    _check_selected_spec(after, errors)
    _check_completions(after, before, errors)
    check_immutable(after, before, "selector", "spec.selector", errors)
    _check_template_change(after, before, old, errors)
    for field in FIXED:
        check_immutable(after, before, field, f"spec.{field}", errors)


def check_cron_job(cron_job: Json, errors: Errors) -> None:
    _check_cron_spec(cron_job.get("spec") or {}, None, errors)
    name = (cron_job.get("metadata") or {}).get("name") or ""
    if len(name) > LONGEST_CRON_NAME:
        errors.append(invalid("metadata.name", name, f"must be no more than {LONGEST_CRON_NAME} characters"))


def check_cron_job_update(new: Json, old: Json, errors: Errors) -> None:
    _check_cron_spec(new.get("spec") or {}, old.get("spec") or {}, errors)


def check_job_spec(spec: Json, path: str, errors: Errors) -> None:
    """What holds for jobs and for a CronJob's template of them."""
    for field in COUNTS:
        check_not_negative(spec, field, path, errors)
    if spec.get("managedBy") is not None:
        check_domain_path(spec["managedBy"], f"{path}.managedBy", errors)
        if len(spec["managedBy"]) > LONGEST_MANAGER:
            errors.append(too_long(f"{path}.managedBy", LONGEST_MANAGER))
    mode = spec.get("completionMode", "NonIndexed")
    if mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        _check_indexed(spec, path, errors)
    elif mode == "NonIndexed":
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if field in spec:
                errors.append(invalid(f"{path}.{field}", spec[field], "requires indexed completion mode"))
    failure, success, replacement = (
        spec.get(field) for field in ("podFailurePolicy", "successPolicy", "podReplacementPolicy")
    )
    if failure is not None:
        _check_failure_policy(spec, f"{path}.podFailurePolicy", errors)
    if success is not None:
        if mode != "Indexed":
            errors.append(invalid(f"{path}.successPolicy", success, "requires indexed completion mode"))
        else:
            _check_success_policy(success, spec.get("completions", 0), f"{path}.successPolicy", errors)
    if replacement is not None:
        supported = ("Failed",) if failure is not None else ("Failed", "TerminatingOrFailed")
        if replacement not in supported:
            errors.append(not_supported(f"{path}.podReplacementPolicy", replacement, supported))
    template = spec.get("template") or {}
    check_template(template, f"{path}.template", errors)
    _check_restart(
        (template.get("spec") or {}).get("restartPolicy") or "",
        failure is not None,
        f"{path}.template.spec.restartPolicy",
        errors,
    )


def _check_restart(policy: str, has_failure_policy: bool, path: str, errors: Errors) -> None:
    if policy in ("", "Always"):
        errors.append(required(path, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        errors.append(not_supported(path, policy, ("OnFailure", "Never")))
    elif has_failure_policy and policy != "Never":
        errors.append(invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified'))


def _check_selected_spec(spec: Json, errors: Errors) -> None:
    check_job_spec(spec, "spec", errors)
    selector = spec.get("selector")
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        check_label_selector(selector, "spec.selector", errors)
    matcher = compiled(selector)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if matcher is not None and not matcher.matches(labels):
        errors.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))


def _check_generated_selector(spec: Json, metadata: Json, errors: Errors) -> None:
    """Unless the author chose the selector, it is made of the job's uid and name, and so are the pods' labels."""
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    if not metadata.get("uid"):
        errors.append(required("metadata.uid"))
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    expected = {label: metadata.get(field) or "" for label, field in LABELS}
    for label, value in expected.items():
        at = f"spec.template.metadata.labels[{label}]"
        if label not in labels:
            errors.append(required(at, f"must be '{value}'"))
        elif labels[label] != value:
            errors.append(invalid(at, labels, f"must be '{value}'"))
    matcher = compiled(spec["selector"])
    if matcher is not None and not matcher.matches(expected):
        errors.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))


def _check_indexed(spec: Json, path: str, errors: Errors) -> None:
    completions, parallelism, failed = spec.get("completions"), spec.get("parallelism"), spec.get("maxFailedIndexes")
    if completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > MAX_PARALLELISM:
        detail = f"must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed"
        errors.append(invalid(f"{path}.parallelism", parallelism, detail))
    if failed is not None and completions is not None and failed > completions:
        errors.append(invalid(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed is not None and failed > MAX_FAILED:
        errors.append(invalid(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {MAX_FAILED}"))
    if completions is not None and completions > SOFT_LIMIT and "backoffLimitPerIndex" in spec:
        if failed is None:
            detail = f"must be specified when completions is above {SOFT_LIMIT}"
            errors.append(required(f"{path}.maxFailedIndexes", detail))
        for field, value in (("parallelism", parallelism), ("maxFailedIndexes", failed)):
            if value is not None and value > HIGH_LIMIT:
                detail = (
                    f"must be less than or equal to {HIGH_LIMIT} when completions are above {SOFT_LIMIT}"
                    " and used with backoff limit per index"
                )
                errors.append(invalid(f"{path}.{field}", value, detail))


def _check_failure_policy(spec: Json, path: str, errors: Errors) -> None:
    rules = spec["podFailurePolicy"].get("rules") or []
    if len(rules) > MAX_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), MAX_RULES))
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = {each.get("name") for field in ("containers", "initContainers") for each in pod.get(field) or ()}
    for index, rule in enumerate(rules):
        at, action = f"{path}.rules[{index}]", rule.get("action")
        if not action:
            errors.append(required(f"{at}.action", _valid(ACTIONS)))
        elif action == "FailIndex":
            if "backoffLimitPerIndex" not in spec:
                errors.append(invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set"))
        elif action not in ACTIONS:
            errors.append(not_supported(f"{at}.action", action, ACTIONS))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None:
            _check_exit_codes(codes, containers, f"{at}.onExitCodes", errors)
        if conditions:
            _check_patterns(conditions, f"{at}.onPodConditions", errors)
        if codes is not None and conditions:
            detail = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(invalid(at, OMITTED, detail))
        if codes is None and not conditions:
            errors.append(invalid(at, OMITTED, "specifying one of OnExitCodes and OnPodConditions is required"))


def _valid(values: tuple[str, ...]) -> str:
    shown = " ".join(map(quote, values))
    return f"valid values: [{shown}]"


def _check_patterns(patterns: list[Json], path: str, errors: Errors) -> None:
    if len(patterns) > MAX_RULES:
        errors.append(too_many(path, len(patterns), MAX_RULES))
    statuses = ("False", "True", "Unknown")
    for index, pattern in enumerate(patterns):
        check_name(names.is_qualified_name, pattern.get("type") or "", f"{path}[{index}].type", errors)
        status = pattern.get("status")
        if not status:
            errors.append(required(f"{path}[{index}].status", _valid(statuses)))
        elif status not in statuses:
            errors.append(not_supported(f"{path}[{index}].status", status, statuses))


def _check_exit_codes(codes: Json, containers: set[str | None], path: str, errors: Errors) -> None:
    operator, values = codes.get("operator"), codes.get("values") or []
    if not operator:
        errors.append(required(f"{path}.operator", _valid(("In", "NotIn"))))
    elif operator not in ("In", "NotIn"):
        errors.append(not_supported(f"{path}.operator", operator, ("In", "NotIn")))
    name = codes.get("containerName")
    if name is not None and name not in containers:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(f"{path}.containerName", name, detail))
    if not values:
        errors.append(invalid(f"{path}.values", values, "at least one value is required"))
    elif len(values) > MAX_EXIT_CODES:
        errors.append(too_many(f"{path}.values", len(values), MAX_EXIT_CODES))
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator"))
        if value in values[:index]:
            errors.append(duplicate(f"{path}.values[{index}]", value))
    if values != sorted(values):
        errors.append(invalid(f"{path}.values", values, "must be ordered"))


def _check_success_policy(policy: Json, completions: int, path: str, errors: Errors) -> None:
    rules = policy.get("rules") or []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(f"{path}.rules", detail))
    if len(rules) > MAX_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), MAX_RULES))
    for index, rule in enumerate(rules):
        at, count, indexes = f"{path}.rules[{index}]", rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            detail = "at least one of succeededCount or succeededIndexes must be specified"
            errors.append(required(at, detail))
        total = 0
        if indexes is not None:
            if len(indexes) > MAX_INDEXES_TEXT:
                errors.append(too_long(f"{at}.succeededIndexes", MAX_INDEXES_TEXT))
            try:
                total = count_indexes(indexes, completions)
            except ValueError as error:
                errors.append(invalid(f"{at}.succeededIndexes", indexes, f"error parsing succeededIndexes: {error}"))
        if count is not None:
            at = f"{at}.succeededCount"
            if count < 0:
                errors.append(invalid(at, count, "must be greater than or equal to 0"))
            for bound, what, applies in (
                (completions, "the number of specified completions", True),
                (total, "the number of indexes in the specified succeededIndexes field", indexes is not None),
            ):
                if applies and count > bound:
                    errors.append(invalid(at, count, f"must be less than or equal to {bound} ({what})"))


def _check_completions(after: Json, before: Json, errors: Errors) -> None:
    new = after.get("completions")
    if after.get("completionMode") != "Indexed":
        check_immutable(after, before, "completions", "spec.completions", errors)
    elif new is not None and new != before.get("completions") and new != after.get("parallelism"):
        detail = "can only be modified in tandem with spec.parallelism"
        errors.append(invalid("spec.completions", new, detail))


def _check_template_change(after: Json, before: Json, old: Json, errors: Errors) -> None:
    """The template is fixed; of a suspended job, where and with what its pods run may still change."""
    new, was = after.get("template") or {}, dict(before.get("template") or {})
    suspended = bool(before.get("suspend"))
    conditions = (old.get("status") or {}).get("conditions") or ()
    settled = any(each.get("type") == "Suspended" and each.get("status") == "True" for each in conditions)
    if suspended and (settled or "startTime" not in (old.get("status") or {})):
        pod, wanted = dict(was.get("spec") or {}), new.get("spec") or {}
        for field in ("nodeSelector", "tolerations", "schedulingGates"):
            pod[field] = wanted.get(field)
        pod["affinity"] = {
            **(pod.get("affinity") or {}),
            "nodeAffinity": (wanted.get("affinity") or {}).get("nodeAffinity"),
        }
        for field in ("containers", "initContainers"):
            pod[field] = _with_resources(pod.get(field) or [], wanted.get(field) or [])
        metadata = {**(was.get("metadata") or {})}
        for field in ("labels", "annotations"):
            metadata[field] = (new.get("metadata") or {}).get(field)
        was = {**was, "metadata": metadata, "spec": pod}
    if not same(new, was):
        errors.append(invalid("spec.template", new, IMMUTABLE))


def _with_resources(old: list[Json], new: list[Json]) -> list[Json]:
    if [each.get("name") for each in old] != [each.get("name") for each in new]:
        return old
    return [{**was, "resources": now.get("resources")} for was, now in zip(old, new, strict=True)]


def _check_cron_spec(spec: Json, old: Json | None, errors: Errors) -> None:
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        errors.append(required("spec.schedule"))
    else:
        _check_schedule(schedule, zone, "TZ" in ((old or {}).get("schedule") or ""), errors)
    check_not_negative(spec, "startingDeadlineSeconds", "spec", errors)
    if zone is not None and (old is None or old.get("timeZone") != zone):
        _check_zone(zone, errors)
    check_one_of(spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"), "spec.concurrencyPolicy", errors)
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    check_job_spec(job, "spec.jobTemplate.spec", errors)
    if job.get("selector") is not None:
        errors.append(invalid("spec.jobTemplate.spec.selector", job["selector"], "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        errors.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        check_not_negative(spec, field, "spec", errors)


def _check_schedule(schedule: str, zone: str | None, had_zone: bool, errors: Errors) -> None:
    try:
        parse_schedule(schedule)
    except ValueError as error:
        errors.append(invalid("spec.schedule", schedule, str(error)))
    if "TZ" in schedule:
        if had_zone and zone is not None:
            detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            errors.append(invalid("spec.schedule", schedule, detail))
        elif not had_zone:
            detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            errors.append(invalid("spec.schedule", schedule, detail))


def _check_zone(zone: str, errors: Errors) -> None:
    at = "spec.timeZone"
    if not zone:
        errors.append(invalid(at, zone, "timeZone must be nil or non-empty string"))
        return
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not ZONE_PART.fullmatch(part):
            errors.append(invalid(at, zone, f"unknown time zone {zone}"))
            return
    if zone.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        errors.append(invalid(at, zone, detail))
    elif zone != "UTC":
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            errors.append(invalid(at, zone, f"unknown time zone {zone}"))


RULES = {
    "CronJob": Rules(check_cron_job, check_cron_job_update, {}),
    "Job": Rules(check_job, check_job_update, {"status": check_job_status}),
}
