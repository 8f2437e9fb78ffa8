"""PriorityClasses; Workloads and PodGroups, whose rules upstream has as declarations beside the types."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, required, too_many
from kobune.api.validation.checks import Errors, check_immutable, check_one_of, check_required_name, same
from kobune.api.validation.kinds import Rules
from kobune.api.validation.statuses import check_conditions

HIGHEST = 1_000_000_000
RESERVED = "system-"
MOST_TEMPLATES = 8  # Of a Workload. Source: scheduling.k8s.io WorkloadMaxPodGroupTemplates.
SYSTEM = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def check_class(priority: Json, errors: Errors) -> None:
    name, value = (priority.get("metadata") or {}).get("name") or "", priority.get("value", 0)
    if name.startswith(RESERVED):
        wrong = _system_fault(name, value, is_default=priority.get("globalDefault", False))
        if wrong:
            detail = f"priority class names with '{RESERVED}' prefix are reserved for system use only. error: {wrong}"
            errors.append(forbidden("metadata.name", detail))
    elif value > HIGHEST:
        errors.append(forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST}"))
    policy = priority.get("preemptionPolicy")
    if policy is not None:
        check_one_of(policy, ("PreemptLowerPriority", "Never"), "preemptionPolicy", errors)


def check_class_update(new: Json, old: Json, errors: Errors) -> None:
    if new.get("value", 0) != old.get("value", 0):
        errors.append(forbidden("value", "may not be changed in an update."))
    check_immutable(new, old, "preemptionPolicy", "preemptionPolicy", errors)


def _system_fault(name: str, value: int, *, is_default: bool) -> str:
    if name not in SYSTEM:
        return f"{name} is not a known system priority class"
    if value != SYSTEM[name]:
        return f"value of {name} PriorityClass must be {SYSTEM[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def check_workload(workload: Json, errors: Errors) -> None:
    spec = workload.get("spec") or {}
    controller = spec.get("controllerRef")
    if controller is not None:
        if controller.get("apiGroup"):
            check_required_name(
                names.is_dns1123_subdomain, controller["apiGroup"], "spec.controllerRef.apiGroup", errors
            )
        for field in ("kind", "name"):
            check_required_name(
                names.is_path_segment_name, controller.get(field), f"spec.controllerRef.{field}", errors
            )
    templates = spec.get("podGroupTemplates") or ()
    if not templates:
        errors.append(required("spec.podGroupTemplates"))
    if len(templates) > MOST_TEMPLATES:
        errors.append(too_many("spec.podGroupTemplates", len(templates), MOST_TEMPLATES))
        return
    seen: set[str] = set()
    for index, template in enumerate(templates):
        path, name = f"spec.podGroupTemplates[{index}]", template.get("name") or ""
        if name in seen:
            errors.append(duplicate(path, template))
        seen.add(name)
        check_required_name(names.is_dns1123_label, name, f"{path}.name", errors)
        _check_policy(template.get("schedulingPolicy") or {}, f"{path}.schedulingPolicy", errors)


def check_workload_update(new: Json, old: Json, errors: Errors) -> None:
    _check_kept(new, old, ("controllerRef", "podGroupTemplates"), errors)


def check_group(group: Json, errors: Errors) -> None:
    spec = group.get("spec") or {}
    reference = spec.get("podGroupTemplateRef")
    if reference is not None:
        workload, path = reference.get("workload"), "spec.podGroupTemplateRef"
        if workload is None:
            errors.append(invalid(path, "", "must specify one of: `workload`"))
        else:
            name, template = workload.get("workloadName"), workload.get("podGroupTemplateName")
            check_required_name(names.is_dns1123_subdomain, name, f"{path}.workload.workloadName", errors)
            check_required_name(names.is_dns1123_label, template, f"{path}.workload.podGroupTemplateName", errors)
    _check_policy(spec.get("schedulingPolicy") or {}, "spec.schedulingPolicy", errors)


def check_group_update(new: Json, old: Json, errors: Errors) -> None:
    _check_kept(new, old, ("podGroupTemplateRef", "schedulingPolicy"), errors)


def check_group_status(new: Json, old: Json, errors: Errors) -> None:
    check_conditions((new.get("status") or {}).get("conditions") or (), "status.conditions", errors)


def _check_policy(policy: Json, path: str, errors: Errors) -> None:
    given = [name for name in ("basic", "gang") if policy.get(name) is not None]
    if not given:
        errors.append(invalid(path, "", "must specify one of: `basic`, `gang`"))
    elif len(given) > 1:
        errors.append(invalid(path, f"{{{', '.join(given)}}}", "must specify exactly one of: `basic`, `gang`"))
    gang = policy.get("gang")
    if gang is None:
        return
    count = gang.get("minCount") or 0
    if not count:
        errors.append(required(f"{path}.gang.minCount"))
    elif count < 1:
        errors.append(invalid(f"{path}.gang.minCount", count, "must be greater than or equal to 1"))


def _check_kept(new: Json, old: Json, fields: tuple[str, ...], errors: Errors) -> None:
    before, after = old.get("spec") or {}, new.get("spec") or {}
    for field in fields:
        if not same(before.get(field), after.get(field)):
            errors.append(invalid(f"spec.{field}", None, "field is immutable"))


RULES = {
    "PriorityClass": Rules(check_class, check_class_update),
    "PodGroup": Rules(check_group, check_group_update, {"status": check_group_status}),
    "Workload": Rules(check_workload, check_workload_update),
}
