"""PriorityClasses."""

from kobune.api.errors import Json
from kobune.api.field_errors import forbidden
from kobune.api.validation.checks import Errors, check_immutable, check_one_of
from kobune.api.validation.kinds import Rules

HIGHEST = 1_000_000_000
RESERVED = "system-"
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


RULES = {"PriorityClass": Rules(check_class, check_class_update)}
