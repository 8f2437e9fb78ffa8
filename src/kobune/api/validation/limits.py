"""LimitRanges and ResourceQuotas."""

from typing import Any

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import IMMUTABLE, duplicate, forbidden, invalid, required
from kobune.api.validation.checks import Errors
from kobune.api.validation.quantities import (
    QUOTA,
    allows_overcommit,
    check_amount,
    check_quota_resource_name,
    container_name_faults,
    parse,
    resource_name_faults,
)
from kobune.api.validation.selectors import NOT_AN_OPERATOR

AMOUNTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
LIMIT_TYPES = frozenset({"Pod", "Container", "PersistentVolumeClaim"})
EXISTENCE_SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
SCOPES = frozenset({*EXISTENCE_SCOPES, "PriorityClass", "VolumeAttributesClass"})
CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
POD_COMPUTE = frozenset(
    {
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
        "limits.memory", "limits.ephemeral-storage",
    }
)  # fmt: skip
ONLY_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating,"
    " ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def check_limit_range(limit_range: Json, errors: Errors) -> None:
    seen: set[str] = set()
    for index, item in enumerate((limit_range.get("spec") or {}).get("limits") or ()):
        at, kind = f"spec.limits[{index}]", item.get("type") or ""
        wrong = names.is_qualified_name(kind)
        errors.extend(invalid(f"{at}.type", kind, message) for message in wrong)
        if not wrong and "/" not in kind and kind not in LIMIT_TYPES:
            errors.append(invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified"))
        if kind in seen:
            errors.append(duplicate(f"{at}.type", kind))
        seen.add(kind)
        _check_item(item, kind, at, errors)


def check_quota(quota: Json, errors: Errors) -> None:
    spec = quota.get("spec") or {}
    _check_amounts(spec.get("hard"), "spec.hard", errors)
    if spec.get("scopes"):
        _check_scopes(spec, errors)
    if spec.get("scopeSelector") is not None:
        _check_scope_selector(spec, errors)
    _check_quota_status(quota, errors)


def check_quota_update(new: Json, old: Json, errors: Errors) -> None:
    check_quota(new, errors)
    after, before = (new.get("spec") or {}).get("scopes") or [], (old.get("spec") or {}).get("scopes") or []
    if set(after) != set(before):
        errors.append(invalid("spec.scopes", after, IMMUTABLE))


def check_quota_status(new: Json, old: Json, errors: Errors) -> None:
    _check_quota_status(new, errors)


def _check_item(item: Json, kind: str, path: str, errors: Errors) -> None:
    faults = container_name_faults if kind in ("Pod", "Container") else resource_name_faults
    amounts: dict[str, dict[str, Any]] = {}
    for field in AMOUNTS:
        values = item.get(field) or {}
        if kind == "Pod" and field in ("default", "defaultRequest"):
            if values:
                errors.append(forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
            values = {}
        for name in values:
            errors.extend(invalid(f"{path}.{field}[{name}]", name, message) for message in faults(name))
        amounts[field] = values
    if kind == "PersistentVolumeClaim" and "storage" not in amounts["min"] and "storage" not in amounts["max"]:
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", detail))
    for name in dict.fromkeys(name for field in AMOUNTS for name in amounts[field]):
        _compare({field: amounts[field][name] for field in AMOUNTS if name in amounts[field]}, name, path, errors)


# Of the two fields the first must not be more than the second: which one is at fault, and the words.
_ORDER = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)  # fmt: skip


def _compare(amounts: dict[str, Any], name: str, path: str, errors: Errors) -> None:
    for low, high, field, shown, words in _ORDER:
        if low in amounts and high in amounts and parse(amounts[low]) > parse(amounts[high]):
            errors.append(invalid(f"{path}.{field}[{name}]", amounts[shown], words.format(amounts[low], amounts[high])))
    ratio = amounts.get("maxLimitRequestRatio")
    if ratio is not None:
        at = f"{path}.maxLimitRequestRatio[{name}]"
        if parse(ratio) < 1:
            errors.append(invalid(at, ratio, f"ratio {ratio} is less than 1"))
        if "min" in amounts and "max" in amounts and parse(amounts["min"]):
            bound = float(parse(amounts["max"]) / parse(amounts["min"]))
            if float(parse(ratio)) > bound:
                errors.append(invalid(at, ratio, f"ratio {ratio} is greater than max/min = {bound:f}"))
    default, request = amounts.get("default"), amounts.get("defaultRequest")
    if not allows_overcommit(name) and default is not None and request is not None and parse(default) != parse(request):
        detail = f"default value {default} must equal to defaultRequest value {request} in {name}"
        errors.append(invalid(f"{path}.defaultRequest[{name}]", request, detail))


def _check_amounts(amounts: Json | None, path: str, errors: Errors) -> None:
    for name, amount in (amounts or {}).items():
        check_quota_resource_name(name, f"{path}[{name}]", errors)
        check_amount(name, amount, f"{path}[{name}]", errors)


def _check_quota_status(quota: Json, errors: Errors) -> None:
    status = quota.get("status") or {}
    for field in ("hard", "used"):
        _check_amounts(status.get(field), f"status.{field}", errors)


def _fits(scope: str, resource: str) -> bool:
    """Whether a scope narrows this resource."""
    if scope in ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"):
        return resource in POD_COMPUTE or resource == "pods"
    if scope == "VolumeAttributesClass":
        return resource in ("persistentvolumeclaims", "requests.storage")
    return scope != "BestEffort" or resource == "pods"


def _check_scopes(spec: Json, errors: Errors) -> None:
    scopes, at = spec["scopes"], "spec.scopes"
    for scope in scopes:
        if scope not in SCOPES:
            errors.append(invalid(at, scopes, "unsupported scope"))
        for name in sorted(spec.get("hard") or ()):
            if name in QUOTA and not _fits(scope, name):
                errors.append(invalid(at, scopes, "unsupported scope applied to resource"))
    _check_conflicts(scopes, scopes, at, errors)


def _check_scope_selector(spec: Json, errors: Errors) -> None:
    at, selector = "spec.scopeSelector.matchExpressions", spec["scopeSelector"]
    scopes = []
    for each in selector.get("matchExpressions") or ():
        scope, operator, values = each.get("scopeName") or "", each.get("operator") or "", each.get("values") or []
        if scope not in SCOPES:
            errors.append(invalid(f"{at}.scopeName", scope, "unsupported scope"))
        for name in sorted(spec.get("hard") or ()):
            if name in QUOTA and not _fits(scope, name):
                errors.append(invalid(at, selector, "unsupported scope applied to resource"))
        if scope in EXISTENCE_SCOPES and operator != "Exists":
            errors.append(invalid(f"{at}.operator", operator, ONLY_EXISTS))
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errors.append(required(f"{at}.values", detail))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errors.append(invalid(f"{at}.values", values, detail))
        else:
            errors.append(invalid(f"{at}.operator", operator, NOT_AN_OPERATOR))
        scopes.append(scope)
    _check_conflicts(scopes, spec.get("scopes"), at, errors)


def _check_conflicts(scopes: list[str], shown: Any, path: str, errors: Errors) -> None:
    for one, other in CONFLICTS:
        if one in scopes and other in scopes:
            errors.append(invalid(path, shown, "conflicting scopes"))
