"""CronJob: makes Jobs at the times of a schedule, and tidies up the finished ones."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

import orjson

from kobune.api.cron import Schedule, parse_schedule
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.batch import CronJob, Job
from kobune.api.objects.core import ObjectReference
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.controlplane.controllers.controller import Context, Controller, For, Owns
from kobune.controlplane.controllers.cronjob.schedule import find_zone, latest_before
from kobune.controlplane.controllers.pods import (
    Unseen,
    controller_reference,
    index_by_controller,
    is_namespace_terminating,
)

BEHIND_SECONDS = 1.0
TOO_MANY = 100  # Missed times that are worth a warning. Source: upstream.
LAG_SECONDS = 0.1  # A job is looked for a little after its time. Source: upstream nextScheduleDelta.
SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class Due(NamedTuple):
    """The latest time that has come and not been served, and whether many were missed."""

    at: datetime | None
    too_many: bool


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass: tidy up, start a Job if one is due; returns the time to the next."""
    item = context.informer(CronJob).get(key)
    if item is None:
        return None
    unseen, moment = context.own(Unseen), context.clock.monotonic()
    for view in (Job, CronJob):
        if unseen.is_behind(key, view, context.informer(view), moment):
            return BEHIND_SECONDS
    jobs = context.informer(Job).index("controller", item.uid)
    await _tidy_up(context, item, jobs)
    active, last_success = await _follow(context, item, jobs)
    wait: float | None = None
    started: datetime | None = None
    if not item.is_deleting and not item.spec.suspend:
        wait, started, active = await _start(context, item, jobs, active)
    await _report(context, item, active, last_success, started)
    return wait


class Step(NamedTuple):
    """What is to be done about the schedule.

    Attributes:
        start: the scheduled time to make a Job for.
        replaces: active Jobs to delete before.
        served: the time that has come and already has its Job.
        wait: seconds to the next time; None: there is none.
        says: events, as (type, reason, message).
    """

    start: datetime | None = None
    replaces: Sequence[ObjectReference] = ()
    served: datetime | None = None
    wait: float | None = None
    says: Sequence[tuple[str, str, str]] = ()


def plan(item: CronJob, jobs: Sequence[Job], active: Sequence[ObjectReference], now: datetime) -> Step:
    """Whether a Job is due, and what the policies say to it. Source: upstream syncCronJob."""
    try:
        schedule = parse_schedule(item.spec.schedule)
    except ValueError as error:
        message = f'unparseable schedule: "{item.spec.schedule}" : {error}'
        return Step(says=[("Warning", "UnparseableSchedule", message)])
    zone_name = item.spec.time_zone or schedule.zone
    zone = find_zone(zone_name)
    if zone is None:
        return Step(says=[("Warning", "UnknownTimeZone", f"invalid timeZone: {zone_name!r}")])
    following = schedule.next_after(now, zone)
    wait = (following - now).total_seconds() + LAG_SECONDS if following is not None else None
    at, too_many = due(item, schedule, zone, now)
    says: list[tuple[str, str, str]] = []
    if "TZ" in item.spec.schedule:
        message = (
            f'CRON_TZ or TZ used in schedule "{item.spec.schedule}" is not officially supported, see '
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
        says.append(("Warning", "UnsupportedSchedule", message))
    if too_many:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        says.append(("Warning", "TooManyMissedTimes", message))
    if at is None:
        return Step(wait=wait, says=says)
    deadline = item.spec.starting_deadline_seconds
    if deadline is not None and at + timedelta(seconds=deadline) < now:
        message = f"Missed scheduled time to start a job: {at:%a, %d %b %Y %H:%M:%S %z}"
        return Step(wait=wait, says=[*says, ("Warning", "MissSchedule", message)])
    name = job_name(item, at)
    if any(each.name == name for each in active) or any(job.name == name for job in jobs):
        return Step(served=at, wait=wait, says=says)
    if item.spec.concurrency_policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return Step(wait=wait, says=[*says, ("Normal", "JobAlreadyActive", message)])
    replaces = list(active) if item.spec.concurrency_policy == "Replace" else []
    return Step(start=at, replaces=replaces, wait=wait, says=says)


def due(item: CronJob, schedule: Schedule, zone: tzinfo, now: datetime) -> Due:
    """Times missed before the starting deadline do not count. Source: upstream mostRecentScheduleTime."""
    earliest = item.status.last_schedule_time or item.metadata.creation_timestamp or now
    if item.spec.starting_deadline_seconds is not None:
        earliest = max(earliest, now - timedelta(seconds=item.spec.starting_deadline_seconds))
    first = schedule.next_after(earliest, zone)
    if first is None or first > now:
        return Due(None, False)
    second = schedule.next_after(first, zone)
    if second is None or second > now:
        return Due(first, False)
    missed = (now - first) / (second - first) + 1
    return Due(latest_before(schedule, earliest, now, zone), missed > TOO_MANY)


def job_manifest(item: CronJob, at: datetime, zone: tzinfo) -> Json:
    """The Job for a scheduled time; named after it, so that no time is served twice."""
    template = item.spec.job_template
    local = at.astimezone(zone)
    stamp = format_time(at) if item.spec.time_zone is None else local.isoformat(timespec="seconds")
    return {
        "metadata": {
            "name": job_name(item, at),
            "namespace": item.namespace,
            "labels": template.metadata.labels,
            "annotations": {**template.metadata.annotations, SCHEDULED_AT: stamp},
            "ownerReferences": [controller_reference(item)],
        },
        "spec": orjson.loads(bytes(template.spec)),
    }


def job_name(item: CronJob, at: datetime) -> str:
    """The CronJob's name and the minutes since 1970."""
    return f"{item.name}-{int(at.timestamp()) // 60}"


def to_tidy_up(item: CronJob, jobs: Sequence[Job]) -> list[Job]:
    """Finished Jobs beyond the history limits, oldest first."""
    surplus: list[Job] = []
    for kind, limit in (
        ("Complete", item.spec.successful_jobs_history_limit),
        ("Failed", item.spec.failed_jobs_history_limit),
    ):
        finished = [job for job in jobs if job.finish is not None and job.finish.type == kind and not job.is_deleting]
        finished.sort(key=lambda job: (str(job.status.start_time or job.metadata.creation_timestamp), job.name))
        if limit is not None:
            surplus += finished[: max(len(finished) - limit, 0)]
    return surplus


async def _start(
    context: Context, item: CronJob, jobs: Sequence[Job], active: list[ObjectReference]
) -> tuple[float | None, datetime | None, list[ObjectReference]]:
    """Start a Job if one is due. Returns the wait for the next, the time served, and the active Jobs."""
    step = plan(item, jobs, active, context.clock.now())
    for kind, reason, message in step.says:
        (context.events.normal if kind == "Normal" else context.events.warning)(item, reason, message)
    if step.start is None:
        return step.wait, step.served, active
    for each in step.replaces:
        await _delete(context, item, Key(each.namespace, each.name))
    active = [each for each in active if each not in step.replaces]
    zone = find_zone(item.spec.time_zone or parse_schedule(item.spec.schedule).zone)
    assert zone is not None  # Else nothing would be due.
    made = await _create(context, item, step.start, zone)
    if made is None:
        return step.wait, None, active
    reference = ObjectReference(
        api_version="batch/v1", kind="Job", namespace=made.namespace, name=made.name, uid=made.uid,
        resource_version=made.metadata.resource_version,
    )  # fmt: skip
    return step.wait, step.start, [*active, reference]


async def _create(context: Context, item: CronJob, at: datetime, zone: tzinfo) -> Job | None:
    try:
        made = await context.client.create(Job, job_manifest(item, at, zone))
    except AlreadyExists:
        found = await context.client.find(Job, Key(item.namespace, job_name(item, at)))
        owner = found.metadata.controller if found is not None else None
        return found if owner is not None and owner.uid == item.uid else None
    except ApiError as error:
        if is_namespace_terminating(error):
            return None
        context.events.warning(item, "FailedCreate", f"Error creating job: {error}")
        raise
    context.own(Unseen).wrote(item.key, made, context.clock.monotonic())
    context.events.normal(item, "SuccessfulCreate", f"Created job {made.name}")
    return made


async def _delete(context: Context, item: CronJob, key: Key) -> None:
    try:
        await context.client.delete(Job, key, propagation="Background")
    except NotFound:
        return
    except ApiError as error:
        context.events.warning(item, "FailedDelete", f"Deleted job: {error}")
        raise
    context.events.normal(item, "SuccessfulDelete", f"Deleted job {key.name}")


async def _tidy_up(context: Context, item: CronJob, jobs: Sequence[Job]) -> None:
    for job in to_tidy_up(item, jobs):
        await _delete(context, item, job.key)


async def _follow(
    context: Context, item: CronJob, jobs: Sequence[Job]
) -> tuple[list[ObjectReference], datetime | None]:
    """The references of Jobs that still run, and when one last succeeded."""
    by_uid = {job.uid: job for job in jobs}
    active: list[ObjectReference] = []
    last = item.status.last_successful_time
    for job in jobs:
        known = any(each.uid == job.uid for each in item.status.active)
        finish = job.finish
        if finish is None and not known:
            message = f"Saw a job that the controller did not create or forgot: {job.name}"
            context.events.warning(item, "UnexpectedJob", message)
        elif finish is not None and known:
            message = f"Saw completed job: {job.name}, condition: {finish.type}"
            context.events.normal(item, "SawCompletedJob", message)
        done = job.status.completion_time
        if finish is not None and finish.type == "Complete" and done is not None and (last is None or done > last):
            last = done
    for each in item.status.active:
        found = by_uid.get(each.uid)
        if found is not None:
            if found.finish is None:
                active.append(each)
            continue
        # The informer may be behind; only the server's word makes an active Job a missing one.
        live = None
        with suppress(NotFound):
            live = await context.client.find(Job, Key(each.namespace or item.namespace, each.name))
        if live is None or live.uid != each.uid:
            context.events.normal(item, "MissingJob", f"Active job went missing: {each.name}")
        elif live.finish is None:
            active.append(each)
    return active, last


async def _report(
    context: Context,
    item: CronJob,
    active: list[ObjectReference],
    last_success: datetime | None,
    started: datetime | None,
) -> None:
    status: Json = {}
    if [each.uid for each in active] != [each.uid for each in item.status.active]:
        status["active"] = [_reference_json(each) for each in active] or None
    if last_success is not None and last_success != item.status.last_successful_time:
        status["lastSuccessfulTime"] = format_time(last_success)
    if started is not None and started != item.status.last_schedule_time:
        status["lastScheduleTime"] = format_time(started)
    if status:
        patched = await context.client.patch_status(CronJob, item.key, status)
        context.own(Unseen).wrote(item.key, patched, context.clock.monotonic())


def _reference_json(reference: ObjectReference) -> Json:
    return {
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "namespace": reference.namespace,
        "name": reference.name,
        "uid": reference.uid,
        "resourceVersion": reference.resource_version,
    }


def _prepare(context: Context) -> None:
    index_by_controller(context, Job)


CONTROLLER = Controller("cronjob-controller", (For(CronJob), Owns(Job)), reconcile, prepare=_prepare)
