"""Kinds served in two versions: stored in one, converted when the client names the other."""

from collections.abc import Callable

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json

Convert = Callable[[Json], Json]
_EVENT_NAMES = (  # core/v1, events.k8s.io/v1
    ("involvedObject", "regarding"), ("message", "note"),
    ("source", "deprecatedSource"), ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"), ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)  # fmt: skip
# What core/v1 always writes and events.k8s.io/v1 need not have.
_CORE_EVENT: Json = {
    "source": {}, "firstTimestamp": None, "lastTimestamp": None, "reportingComponent": "", "reportingInstance": "",
}  # fmt: skip
METRICS_ANNOTATION = "autoscaling.alpha.kubernetes.io/metrics"
BEHAVIOR_ANNOTATION = "autoscaling.alpha.kubernetes.io/behavior"


def converted(obj: Json, source: Kind, target: Kind) -> Json:
    """The object in another version; the same object when the versions are one."""
    if source is target or source.api_version == target.api_version:
        return obj
    convert = _CONVERSIONS.get((source.name, source.api_version, target.api_version))
    result = convert(obj) if convert else dict(obj)
    result["kind"], result["apiVersion"] = target.name, target.api_version
    return result


def converted_body(body: bytes, source: Kind, target: Kind) -> bytes:
    """The body in another version; the same bytes when the versions are one."""
    if source is target or source.api_version == target.api_version:
        return body
    return orjson.dumps(converted(orjson.loads(body), source, target))


def _event_to_core(event: Json) -> Json:
    renamed = {new: old for old, new in _EVENT_NAMES}
    return {**_CORE_EVENT, **{renamed.get(field, field): value for field, value in event.items()}}


def _event_from_core(event: Json) -> Json:
    renamed = dict(_EVENT_NAMES)
    result = {renamed.get(field, field): value for field, value in event.items()}
    result.setdefault("eventTime", None)
    return result


def _hpa_to_v1(hpa: Json) -> Json:
    """What v1 cannot say goes into annotations. Source: upstream autoscaling/v1 conversion."""
    result = {**hpa, "metadata": dict(hpa["metadata"])}
    spec = dict(hpa.get("spec") or {})
    metrics, kept = spec.pop("metrics", None) or [], []
    for metric in metrics:
        target = (metric.get("resource") or {}).get("target") or {}
        is_cpu = metric.get("type") == "Resource" and metric["resource"].get("name") == "cpu"
        if is_cpu and target.get("averageUtilization") is not None:
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            kept.append(metric)
    annotations = dict(result["metadata"].get("annotations") or {})
    if kept:
        annotations[METRICS_ANNOTATION] = orjson.dumps(kept).decode()
    behavior = spec.pop("behavior", None)
    if behavior:
        annotations[BEHAVIOR_ANNOTATION] = orjson.dumps(behavior).decode()
    if annotations:
        result["metadata"]["annotations"] = annotations
    result["spec"] = spec
    status = dict(hpa.get("status") or {})
    for metric in status.pop("currentMetrics", None) or ():
        current = (metric.get("resource") or {}).get("current") or {}
        if (metric.get("resource") or {}).get("name") == "cpu" and current.get("averageUtilization") is not None:
            status["currentCPUUtilizationPercentage"] = current["averageUtilization"]
    status.pop("conditions", None)
    status.setdefault("currentReplicas", 0)
    result["status"] = status
    return result


def _hpa_from_v1(hpa: Json) -> Json:
    result = {**hpa, "metadata": dict(hpa["metadata"])}
    spec = dict(hpa.get("spec") or {})
    annotations = dict(result["metadata"].get("annotations") or {})
    metrics = orjson.loads(annotations.pop(METRICS_ANNOTATION, "[]"))
    behavior = annotations.pop(BEHAVIOR_ANNOTATION, None)
    utilization = spec.pop("targetCPUUtilizationPercentage", None)
    if utilization is not None:
        target = {"type": "Utilization", "averageUtilization": utilization}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    if behavior:
        spec["behavior"] = orjson.loads(behavior)
    if annotations:
        result["metadata"]["annotations"] = annotations
    else:
        result["metadata"].pop("annotations", None)
    result["spec"] = spec
    if "status" in result:
        status = dict(result["status"])
        percentage = status.pop("currentCPUUtilizationPercentage", None)
        if percentage is not None:
            current = {"averageUtilization": percentage}
            status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
        result["status"] = status
    return result


_CONVERSIONS: dict[tuple[str, str, str], Convert] = {
    ("Event", "events.k8s.io/v1", "v1"): _event_to_core,
    ("Event", "v1", "events.k8s.io/v1"): _event_from_core,
    ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1"): _hpa_to_v1,
    ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2"): _hpa_from_v1,
}
# Names of an event's selectable fields in events.k8s.io/v1 and in the stored version.
EVENT_FIELDS = {
    **{f"regarding.{part}": f"involvedObject.{part}" for part in
       ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")},
    "reportingController": "reportingComponent",
}  # fmt: skip
