"""PodDisruptionBudgets."""

from kobune.api.errors import Json
from kobune.api.field_errors import invalid, not_supported
from kobune.api.validation.checks import Errors, check_int_or_percent, check_not_negative, check_not_over_100_percent
from kobune.api.validation.kinds import Rules, path_name
from kobune.api.validation.selectors import check_label_selector
from kobune.api.validation.statuses import check_conditions

EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def check_budget(budget: Json, errors: Errors) -> None:
    spec = budget.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        errors.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        if spec.get(field) is not None:
            check_int_or_percent(spec[field], f"spec.{field}", errors)
            check_not_over_100_percent(spec[field], f"spec.{field}", errors)
    check_label_selector(spec.get("selector"), "spec.selector", errors)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in EVICTION_POLICIES:
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES))


def check_budget_status(new: Json, old: Json, errors: Errors) -> None:
    status = new.get("status") or {}
    check_conditions(status.get("conditions"), "status.conditions", errors)
    for field in COUNTS:
        check_not_negative(status, field, "status", errors)


RULES = {
    "Eviction": Rules(metadata=False),
    "PodDisruptionBudget": Rules(check_budget, subresources={"status": check_budget_status}, name=path_name),
}
