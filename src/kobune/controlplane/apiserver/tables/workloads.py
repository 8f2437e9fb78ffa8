"""The columns of what keeps pods running: Deployments, sets, Jobs, autoscalers, disruption budgets."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kobune.api.errors import Json
from kobune.api.timestamps import parse_time
from kobune.controlplane.apiserver.tables.columns import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    NONE,
    SELECTOR,
    UNKNOWN,
    UNSET,
    Column,
    GroupKind,
    Printer,
    age,
    images_of,
    labels_text,
    name_of,
    part,
    selector_text,
    template_images,
    yes_no,
)  # fmt: skip
from kobune.controlplane.apiserver.tables.durations import human_duration, since

_KEEP_METRICS = 2
# A Job's state is the first of these conditions that holds. Source: upstream printJob.
_JOB_STATES = (("Complete", "Complete"), ("Failed", "Failed"), ("", "Terminating"), ("Suspended", "Suspended"),
               ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"))  # fmt: skip


def deployment_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    return [
        name_of(obj), f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}", status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0), age(obj, now), *template_images(obj), _selector_or_nothing(spec),
    ]  # fmt: skip


def replica_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    selector = spec.get("selector")
    is_controller = obj.get("kind") == "ReplicationController"  # Its selector is a plain map.
    return [
        name_of(obj), spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0),
        age(obj, now), *template_images(obj), labels_text(selector) if is_controller else selector_text(selector),
    ]  # fmt: skip


def statefulset_cells(obj: Json, now: datetime) -> list[Any]:
    ready, wanted = part(obj, "status").get("readyReplicas", 0), part(obj, "spec").get("replicas", 0)
    return [name_of(obj), f"{ready}/{wanted}", age(obj, now), *template_images(obj)]


def daemonset_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
              "numberAvailable")  # fmt: skip
    node_selector = part(part(spec, "template"), "spec").get("nodeSelector")
    return [
        name_of(obj), *(status.get(count, 0) for count in counts), labels_text(node_selector), age(obj, now),
        *template_images(obj), selector_text(spec.get("selector")),
    ]  # fmt: skip


def job_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    succeeded, wanted, parallel = status.get("succeeded", 0), spec.get("completions"), spec.get("parallelism", 0)
    if wanted is not None:
        completions = f"{succeeded}/{wanted}"
    else:
        completions = f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"
    duration = ""
    if started := status.get("startTime"):
        ended = status.get("completionTime")
        duration = human_duration(((parse_time(ended) if ended else now) - parse_time(started)).total_seconds())
    return [
        name_of(obj), _job_state(obj, status.get("conditions") or ()), completions, duration, age(obj, now),
        *template_images(obj), selector_text(spec.get("selector")),
    ]  # fmt: skip


def _job_state(job: Json, conditions: Iterable[Json]) -> str:
    true = {one["type"] for one in conditions if one.get("status") == "True"}
    if job["metadata"].get("deletionTimestamp"):
        true.add("")
    return next((state for condition, state in _JOB_STATES if condition in true), "Running")


def cronjob_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    job = part(part(spec, "jobTemplate"), "spec")
    last = status.get("lastScheduleTime")
    return [
        name_of(obj), spec.get("schedule", ""), spec.get("timeZone", NONE), yes_no(spec.get("suspend")),
        len(status.get("active") or ()), since(last, now) if last else NONE, age(obj, now),
        *images_of(part(part(job, "template"), "spec").get("containers")), selector_text(job.get("selector")),
    ]  # fmt: skip


def revision_cells(obj: Json, now: datetime) -> list[Any]:
    owners = obj["metadata"].get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    controller = NONE
    if owner is not None:
        group = owner["apiVersion"].rpartition("/")[0]
        controller = f"{owner['kind']}.{group}".rstrip(".").lower() + f"/{owner['name']}"
    return [name_of(obj), controller, obj.get("revision", 0), age(obj, now)]


def budget_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    allowed = part(obj, "status").get("disruptionsAllowed", 0)
    return [
        name_of(obj), str(spec.get("minAvailable", "N/A")), str(spec.get("maxUnavailable", "N/A")), allowed,
        age(obj, now),
    ]  # fmt: skip


def autoscaler_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    target = part(spec, "scaleTargetRef")
    return [
        name_of(obj), f"{target.get('kind', '')}/{target.get('name', '')}", _metrics(spec, status),
        str(spec.get("minReplicas", UNSET)), spec.get("maxReplicas", 0), status.get("currentReplicas", 0),
        age(obj, now),
    ]  # fmt: skip


def _metrics(spec: Json, status: Json) -> str:
    percentage = spec.get("targetCPUUtilizationPercentage")  # As autoscaling/v1 says it.
    if percentage is not None:
        current = status.get("currentCPUUtilizationPercentage")
        return f"cpu: {UNKNOWN if current is None else f'{current}%'}/{percentage}%"
    metrics, observed = spec.get("metrics") or (), status.get("currentMetrics") or ()
    texts = [_metric(metric, observed[i] if i < len(observed) else {}) for i, metric in enumerate(metrics)]
    more = f" + {len(texts) - _KEEP_METRICS} more..." if len(texts) > _KEEP_METRICS else ""
    return ", ".join(texts[:_KEEP_METRICS]) + more if texts else NONE


def _metric(metric: Json, observed: Json) -> str:
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source, current = part(metric, field), part(part(observed, field), "current")
    target = part(source, "target")
    match kind:
        case "Pods":
            return f"{current.get('averageValue', UNKNOWN)}/{target.get('averageValue')}"
        case "External" | "Object":
            if "averageValue" in target:
                return f"{current.get('averageValue', UNKNOWN)}/{target['averageValue']} (avg)"
            return f"{current.get('value', UNKNOWN)}/{target.get('value')}"
        case "Resource" | "ContainerResource":
            if "averageValue" in target:
                return f"{source.get('name')}: {current.get('averageValue', UNKNOWN)}/{target['averageValue']}"
            now, wanted = current.get("averageUtilization"), target.get("averageUtilization")
            return (
                f"{source.get('name')}: {UNKNOWN if now is None else f'{now}%'}/"
                f"{'<auto>' if wanted is None else f'{wanted}%'}"
            )
    return "<unknown type>"


def _selector_or_nothing(spec: Json) -> str:
    text = selector_text(spec.get("selector"))
    return {NONE: "", "<error>": "<invalid>"}.get(text, text)


_DESIRED = Column("Desired", "How many pods are wanted.", type="integer")
_CURRENT = Column("Current", "How many pods there are.", type="integer")
_READY_COUNT = Column("Ready", "How many pods are ready.", type="integer")
_READY_SHARE = Column("Ready", "How many of the wanted pods are ready.")
_REPLICAS = Printer((NAME, _DESIRED, _CURRENT, _READY_COUNT, AGE, CONTAINERS, IMAGES, SELECTOR), replica_cells)

PRINTERS: dict[GroupKind, Printer] = {
    ("", "ReplicationController"): _REPLICAS,
    ("apps", "ReplicaSet"): _REPLICAS,
    ("apps", "Deployment"): Printer(
        (
            NAME,
            _READY_SHARE,
            Column("Up-to-date", "How many pods are of the current template."),
            Column("Available", "How many pods have been ready for long enough."),
            AGE, CONTAINERS, IMAGES, SELECTOR,
        ),
        deployment_cells,
    ),
    ("apps", "StatefulSet"): Printer((NAME, _READY_SHARE, AGE, CONTAINERS, IMAGES), statefulset_cells),
    ("apps", "DaemonSet"): Printer(
        (
            NAME,
            Column("Desired", "How many nodes should run the pod.", type="integer"),
            Column("Current", "How many nodes that should run the pod do.", type="integer"),
            Column("Ready", "On how many nodes the pod is ready.", type="integer"),
            Column("Up-to-date", "On how many nodes the pod is of the current template.", type="integer"),
            Column("Available", "On how many nodes the pod has been ready for long enough.", type="integer"),
            Column("Node Selector", "Which nodes the pods may run on."),
            AGE, CONTAINERS, IMAGES, SELECTOR,
        ),
        daemonset_cells,
    ),
    ("apps", "ControllerRevision"): Printer(
        (
            NAME,
            Column("Controller", "What the revision is of."),
            Column("Revision", "The number of the revision."),
            AGE,
        ),
        revision_cells,
    ),
    ("batch", "Job"): Printer(
        (
            NAME,
            Column("Status", "What the job is at."),
            Column("Completions", "How many pods have succeeded."),
            Column("Duration", "How long the job took, or has taken so far."),
            AGE, CONTAINERS, IMAGES, SELECTOR,
        ),
        job_cells,
    ),
    ("batch", "CronJob"): Printer(
        (
            NAME,
            Column("Schedule", "When jobs are made, in Cron form."),
            Column("Timezone", "The time zone of the schedule."),
            Column("Suspend", "Whether no more jobs are made.", type="boolean"),
            Column("Active", "How many jobs are running.", type="integer"),
            Column("Last Schedule", "The time since the last job was made."),
            AGE, CONTAINERS, IMAGES, SELECTOR,
        ),
        cronjob_cells,
    ),
    ("policy", "PodDisruptionBudget"): Printer(
        (
            NAME,
            Column("Min Available", "How many pods must stay available."),
            Column("Max Unavailable", "How many pods may be unavailable."),
            Column("Allowed Disruptions", "How many pods may be disrupted now.", type="integer"),
            AGE,
        ),
        budget_cells,
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): Printer(
        (
            NAME,
            Column("Reference", "What is scaled."),
            Column("Targets", "The metrics, as they are and as they should be."),
            Column("MinPods", "The least number of pods."),
            Column("MaxPods", "The largest number of pods."),
            Column("Replicas", "How many pods there are."),
            AGE,
        ),
        autoscaler_cells,
    ),
}  # fmt: skip
