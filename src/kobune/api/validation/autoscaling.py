"""HorizontalPodAutoscalers, in both versions, and Scale."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required
from kobune.api.validation.checks import NOT_POSITIVE, Errors, check_name, check_not_negative, check_required_name
from kobune.api.validation.kinds import Rules
from kobune.api.validation.quantities import container_name_faults, parse

SOURCES = {
    "ContainerResource": "containerResource", "External": "external", "Object": "object", "Pods": "pods", "Resource": "resource",
}  # fmt: skip
ORDER = ("object", "external", "pods", "resource", "containerResource")
SELECT_POLICIES = ("Disabled", "Max", "Min")
LONGEST_PERIOD, LONGEST_WINDOW = 1800, 3600  # Seconds.
EMPTY_SOURCE = "must populate information for the given metric source"


def check_autoscaler_v1(autoscaler: Json, errors: Errors) -> None:
    spec = autoscaler.get("spec") or {}
    _check_bounds(spec, errors)
    target = spec.get("targetCPUUtilizationPercentage")
    if target is not None and target < 1:
        # Judged as the metric that it stands for.
        at = "spec.metrics[0].resource.target.averageUtilization"
        errors.append(invalid(at, target, "must be greater than 0"))


def check_autoscaler(autoscaler: Json, errors: Errors) -> None:
    spec = autoscaler.get("spec") or {}
    _check_bounds(spec, errors)
    metrics = spec.get("metrics") or []
    for index, metric in enumerate(metrics):
        _check_metric(metric, f"spec.metrics[{index}]", errors)
    if spec.get("minReplicas") == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        detail = "must specify at least one Object or External metric to support scaling to zero replicas"
        errors.append(forbidden("spec.metrics", detail))
    behavior = spec.get("behavior") or {}
    for field in ("scaleUp", "scaleDown"):
        if behavior.get(field) is not None:
            _check_scaling(behavior[field], f"spec.behavior.{field}", errors)


def check_autoscaler_status(new: Json, old: Json, errors: Errors) -> None:
    for field in ("currentReplicas", "desiredReplicas"):
        check_not_negative(new.get("status") or {}, field, "status", errors)


def check_scale(scale: Json, errors: Errors) -> None:
    check_not_negative(scale.get("spec") or {}, "replicas", "spec", errors)


def check_scale_update(new: Json, old: Json, errors: Errors) -> None:
    check_scale(new, errors)


def check_object_reference(reference: Json, path: str, errors: Errors) -> None:
    """An object in whatever version."""
    for field in ("kind", "name"):
        check_required_name(names.is_path_segment_name, reference.get(field), f"{path}.{field}", errors)
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        errors.append(invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))


def _check_bounds(spec: Json, errors: Errors) -> None:
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if low is not None and low < 1:
        errors.append(invalid("spec.minReplicas", low, "must be greater than or equal to 1"))
    if high == 0:
        errors.append(required("spec.maxReplicas", "must be set and greater than 0"))
    elif high < 0:
        errors.append(invalid("spec.maxReplicas", high, "must be greater than or equal to 1"))
    if low is not None and high < low:
        errors.append(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    check_object_reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", errors)


def _check_metric(metric: Json, path: str, errors: Errors) -> None:
    kind = metric.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in SOURCES:
        errors.append(not_supported(f"{path}.type", kind, tuple(SOURCES)))
    present = [field for field in ORDER if metric.get(field) is not None]
    if present:
        _check_source(present[0], metric[present[0]], f"{path}.{present[0]}", errors)
    expected = SOURCES.get(kind)
    if expected is not None and expected not in present:
        errors.append(required(f"{path}.{expected}", EMPTY_SOURCE))
    if len(present) != 1:
        for field in present:
            if field != expected:
                errors.append(forbidden(f"{path}.{field}", "must populate the given metric source only"))


def _check_source(field: str, source: Json, path: str, errors: Errors) -> None:
    target = source.get("target") or {}
    value, average, utilization = (target.get(name) for name in ("value", "averageValue", "averageUtilization"))
    at = f"{path}.target"
    if field in ("object", "external", "pods"):
        if field == "object":
            check_object_reference(source.get("describedObject") or {}, f"{path}.describedObject", errors)
        _check_identifier(source.get("metric") or {}, f"{path}.metric", errors)
    elif not source.get("name"):
        errors.append(required(f"{path}.name", "must specify a resource name"))
    elif field == "containerResource":
        errors.extend(
            invalid(f"{path}.name", source["name"], message) for message in container_name_faults(source["name"])
        )
    if field == "containerResource":
        if not source.get("container"):
            errors.append(required(f"{path}.container", "must specify a container"))
        else:
            check_name(names.is_dns1123_label, source["container"], f"{path}.container", errors)
    _check_target(target, at, errors)
    match field:
        case "object":
            if value is None and average is None:
                errors.append(required(f"{at}.averageValue", "must set either a target value or averageValue"))
        case "external":
            if value is None and average is None:
                detail = "must set either a target value for metric or a per-pod target"
                errors.append(required(f"{at}.averageValue", detail))
            elif value is not None and average is not None:
                errors.append(
                    forbidden(f"{at}.value", "may not set both a target value for metric and a per-pod target")
                )
        case "pods":
            if average is None:
                errors.append(required(f"{at}.averageValue", "must specify a positive target averageValue"))
        case _:
            if utilization is None and average is None:
                detail = "must set either a target raw value or a target utilization"
                errors.append(required(f"{at}.averageUtilization", detail))
            elif utilization is not None and average is not None:
                errors.append(
                    forbidden(f"{at}.averageValue", "may not set both a target raw value and a target utilization")
                )


def _check_target(target: Json, path: str, errors: Errors) -> None:
    kind = target.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        errors.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        if target.get(field) is not None and parse(target[field]) <= 0:
            errors.append(invalid(f"{path}.{field}", target[field], "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        errors.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))


def _check_identifier(identifier: Json, path: str, errors: Errors) -> None:
    if not identifier.get("name"):
        errors.append(required(f"{path}.name", "must specify a metric name"))
    else:
        check_name(names.is_path_segment_name, identifier["name"], f"{path}.name", errors)


def _check_scaling(rules: Json, path: str, errors: Errors) -> None:
    window, select, tolerance = (
        rules.get(field) for field in ("stabilizationWindowSeconds", "selectPolicy", "tolerance")
    )
    at = f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        errors.append(invalid(at, window, "must be greater than or equal to zero"))
    if window is not None and window > LONGEST_WINDOW:
        errors.append(invalid(at, window, f"must be less than or equal to {LONGEST_WINDOW}"))
    if select is not None and select not in SELECT_POLICIES:
        errors.append(not_supported(f"{path}.selectPolicy", select, SELECT_POLICIES))
    policies = rules.get("policies") or []
    if not policies:
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(policies):
        at, period = f"{path}.policies[{index}]", policy.get("periodSeconds", 0)
        if policy.get("type") not in ("Percent", "Pods"):
            errors.append(not_supported(f"{at}.type", policy.get("type") or "", ("Percent", "Pods")))
        if policy.get("value", 0) <= 0:
            errors.append(invalid(f"{at}.value", policy.get("value", 0), NOT_POSITIVE))
        if period <= 0:
            errors.append(invalid(f"{at}.periodSeconds", period, NOT_POSITIVE))
        if period > LONGEST_PERIOD:
            errors.append(invalid(f"{at}.periodSeconds", period, f"must be less than or equal to {LONGEST_PERIOD}"))
    if tolerance is not None and parse(tolerance) < 0:
        errors.append(invalid(f"{path}.tolerance", tolerance, "must be greater than or equal to 0"))


RULES = {
    "HorizontalPodAutoscaler": Rules(check_autoscaler, subresources={"status": check_autoscaler_status}),
    "Scale": Rules(check_scale, check_scale_update),
    "v1/HorizontalPodAutoscaler": Rules(check_autoscaler_v1, subresources={"status": check_autoscaler_status}),
}
