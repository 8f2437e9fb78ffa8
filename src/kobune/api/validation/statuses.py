"""Counts in the status of controllers, and their conditions."""

import re
from collections.abc import Iterable

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, invalid, not_supported, required, too_long
from kobune.api.names import regex_text
from kobune.api.validation.checks import Errors, check_name, check_not_negative

REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
NOT_A_REASON = regex_text(
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or"
    " '_,:', and must end with an alphanumeric character or '_'",
    REASON,
    "my_name",
    "MY_NAME",
    "MyName",
    "ReasonA,ReasonB",
    "ReasonA:ReasonB",
)
LONGEST_REASON, LONGEST_MESSAGE = 1024, 32 * 1024

_reason = re.compile(REASON).fullmatch


def check_replica_counts(
    status: Json, counts: Iterable[str], within: Iterable[str], path: str, errors: Errors, ready: str = "readyReplicas"
) -> None:
    """Args: counts: fields that are not negative; within: those that are not more than all replicas."""
    for field in counts:
        check_not_negative(status, field, path, errors)
    total, available = status.get("replicas", 0), status.get("availableReplicas", 0)
    for field in within:
        if status.get(field, 0) > total:
            errors.append(invalid(f"{path}.{field}", status.get(field, 0), "cannot be greater than status.replicas"))
    if available > status.get("readyReplicas", 0):
        errors.append(invalid(f"{path}.availableReplicas", available, f"cannot be greater than {ready}"))


def check_collisions(new: Json, old: Json, errors: Errors) -> None:
    """status.collisionCount only grows."""
    after, before = (new.get("status") or {}).get("collisionCount"), (old.get("status") or {}).get("collisionCount")
    if before is not None and (after is None or after < before):
        errors.append(invalid("status.collisionCount", after or 0, "cannot be decremented"))


def check_conditions(conditions: Iterable[Json] | None, path: str, errors: Errors) -> None:
    """Conditions of the general form, as newer kinds have them."""
    seen: set[str] = set()
    for index, condition in enumerate(conditions or ()):
        at, kind, reason = f"{path}[{index}]", condition.get("type") or "", condition.get("reason") or ""
        if kind in seen:
            errors.append(duplicate(f"{at}.type", kind))
        seen.add(kind)
        check_name(names.is_qualified_name, kind, f"{at}.type", errors)
        if condition.get("status") not in ("False", "True", "Unknown"):
            errors.append(not_supported(f"{at}.status", condition.get("status") or "", ("False", "True", "Unknown")))
        if condition.get("observedGeneration", 0) < 0:
            detail = "must be greater than or equal to zero"
            errors.append(invalid(f"{at}.observedGeneration", condition["observedGeneration"], detail))
        if not condition.get("lastTransitionTime"):
            errors.append(required(f"{at}.lastTransitionTime"))
        if not reason:
            errors.append(required(f"{at}.reason"))
        elif not _reason(reason):
            errors.append(invalid(f"{at}.reason", reason, NOT_A_REASON))
        if len(reason) > LONGEST_REASON:
            errors.append(too_long(f"{at}.reason", LONGEST_REASON))
        if len((condition.get("message") or "").encode()) > LONGEST_MESSAGE:
            errors.append(too_long(f"{at}.message", LONGEST_MESSAGE))
