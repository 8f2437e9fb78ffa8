"""Attempts at PodGroups: what comes of a group's cycle, for each of its pods and in the group's condition."""

from typing import TYPE_CHECKING

from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler.extender import ExtenderError
from kobune.controlplane.scheduler.group_cycle import (
    ASKED_TO_WAIT,
    GroupOutcome,
    Tried,
    Verdict,
    in_order,
    several_schedulers,
    try_group,
)
from kobune.controlplane.scheduler.profiles import Running
from kobune.controlplane.scheduler.queue import QueuedPod
from kobune.controlplane.scheduler.reports import SCHEDULER_ERROR, UNSCHEDULABLE, group_condition

if TYPE_CHECKING:
    from kobune.controlplane.scheduler.scheduler import Scheduler


class GroupAttempts:
    """The part of a scheduler that places pods in groups."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self._scheduler = scheduler
        self._scheduled: dict[Key, str] = {}  # Groups that were scheduled once, and their uids.

    async def attempt(self, first: QueuedPod) -> None:
        """Try all pods of a group that have no node: bind those that fit, if enough of them do, or put all of them off."""
        scheduler = self._scheduler
        group, began = first.pod.scheduling_group, scheduler.clock.monotonic()
        assert group is not None
        others = (scheduler.queue.take(uid) for uid in scheduler.listers.members.waiting(group) if uid != first.pod.uid)
        pods = in_order([first, *(queued for queued in others if queued is not None)])
        names = list(dict.fromkeys(queued.pod.pod.spec.scheduler_name for queued in pods))
        if len(names) > 1:
            for queued in pods:
                scheduler.fail(queued, several_schedulers(names), began)
            return
        pods = [queued for queued in pods if not scheduler.is_skipped(queued)]
        if not pods:
            return
        running = scheduler.profiles[names[0]]
        try:
            outcome = await try_group(
                pods, running, scheduler.table, scheduler.listers.members, lambda pod: scheduler.find(pod, running)
            )
        except (LookupError, ExtenderError) as error:
            for queued in pods:
                scheduler.fail(queued, f"failed to schedule other pod from a pod group: {error}", began)
            self._report(group, "error", SCHEDULER_ERROR, str(error), began, names[0])
            return
        scheduler.metrics.group_algorithm_seconds.observe(scheduler.clock.monotonic() - began)
        for tried in outcome.tried:
            if scheduler.queue.get(tried.queued.pod.uid) is tried.queued:  # Not deleted while extenders were asked.
                self._settle(tried, outcome, running, began)
        reason = "Scheduled" if outcome.verdict is Verdict.SCHEDULED else UNSCHEDULABLE
        self._report(group, outcome.verdict.value, reason, outcome.message, began, names[0])

    def _settle(self, tried: Tried, whole: GroupOutcome, running: Running, began: float) -> None:
        """What becomes of one pod of a group that was tried."""
        scheduler = self._scheduler
        queued, fits = tried.queued, tried.row is not None and tried.outcome is None
        if fits and whole.verdict is Verdict.SCHEDULED:
            assert tried.row is not None
            scheduler.place(queued, running, tried.row, began)
            return
        message, plugins, nominated = whole.message, frozenset[str](), ""
        if tried.outcome is not None and (tried.row is None or whole.verdict is Verdict.WAITING):
            diagnosis = tried.outcome.diagnosis
            scheduler.diagnoses[queued.pod.uid] = diagnosis
            message, plugins, nominated = diagnosis.message(), diagnosis.plugins, tried.outcome.nominated or ""
            if tried.outcome.room is not None:
                scheduler.evict(queued.pod, tried.outcome.room, running)
        elif whole.verdict is Verdict.WAITING:
            assert tried.row is not None
            nominated = scheduler.table.names[tried.row]
        else:
            message = f"{message}, {tried.waits}, {ASKED_TO_WAIT}"
        scheduler.nominated.put(queued.pod, nominated)
        scheduler.queue.put_off(queued, plugins)
        scheduler.writes.report(queued.pod, UNSCHEDULABLE, message, nominated)
        scheduler.count_attempt("unschedulable", queued.pod, began)

    def _report(self, key: Key, result: str, reason: str, message: str, began: float, profile: str) -> None:
        scheduler = self._scheduler
        scheduler.metrics.group_attempts.add(result, profile)
        scheduler.metrics.group_attempt_seconds.observe(scheduler.clock.monotonic() - began, result, profile)
        group = scheduler.listers.pod_groups.get(key)
        if group is None:
            self._scheduled.pop(key, None)
            return
        if reason == "Scheduled":
            self._scheduled[key] = group.metadata.uid
        elif self._scheduled.get(key) == group.metadata.uid:
            return  # The group may not say so yet.
        condition = group_condition(group, reason, message, scheduler.clock.now())
        if condition is not None:
            scheduler.writes.start(scheduler.writes.patch_group(key, condition))
