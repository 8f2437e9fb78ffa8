"""Views of the batch group."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.apps import NOTHING
from kobune.api.objects.core import ObjectReference
from kobune.api.objects.meta import GVK, Condition, Object, ObjectMeta, View, find_condition


class OnExitCodes(View):
    container_name: str | None = None
    operator: str = "In"
    values: list[int] = []


class OnPodConditions(View):
    type: str = ""
    status: str = "True"


class PodFailureRule(View):
    action: str = ""
    on_exit_codes: OnExitCodes | None = None
    on_pod_conditions: list[OnPodConditions] | None = None


class PodFailurePolicy(View):
    rules: list[PodFailureRule] = []


class SuccessRule(View):
    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(View):
    rules: list[SuccessRule] = []


class JobSpec(View):
    parallelism: int = 1
    completions: int | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    selector: dict[str, Any] | None = None
    template: msgspec.Raw = NOTHING
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    pod_replacement_policy: str | None = None
    managed_by: str | None = None


class UncountedTerminatedPods(View):
    succeeded: list[str] = []
    failed: list[str] = []


class JobStatus(View):
    conditions: list[Condition] = []
    start_time: datetime | None = None
    completion_time: datetime | None = None
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    ready: int | None = None
    terminating: int | None = None
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None


class Job(Object):
    gvk: ClassVar[GVK] = GVK("batch", "v1", "Job")
    spec: JobSpec = msgspec.field(default_factory=JobSpec)
    status: JobStatus = msgspec.field(default_factory=JobStatus)

    @property
    def finish(self) -> Condition | None:
        """The Complete or Failed condition that ends the Job."""
        for kind in ("Complete", "Failed"):
            found = find_condition(self.status.conditions, kind)
            if found is not None and found.status == "True":
                return found
        return None


class JobTemplate(View):
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    spec: msgspec.Raw = NOTHING


class CronJobSpec(View):
    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: JobTemplate = msgspec.field(default_factory=JobTemplate)
    successful_jobs_history_limit: int | None = None
    failed_jobs_history_limit: int | None = None


class CronJobStatus(View):
    active: list[ObjectReference] = []
    last_schedule_time: datetime | None = None
    last_successful_time: datetime | None = None


class CronJob(Object):
    gvk: ClassVar[GVK] = GVK("batch", "v1", "CronJob")
    spec: CronJobSpec = msgspec.field(default_factory=CronJobSpec)
    status: CronJobStatus = msgspec.field(default_factory=CronJobStatus)
