"""Conditions of an object's status, as the server itself sets them."""

from kobune.api.errors import Json


def set_condition(status: Json, condition: Json, now: str) -> None:
    """Add a condition, or replace the one of its type; the transition time stays where the status does."""
    conditions = [*(status.get("conditions") or ())]
    for position, old in enumerate(conditions):
        if old["type"] == condition["type"]:
            same = old["status"] == condition["status"]
            conditions[position] = {**condition, "lastTransitionTime": old.get("lastTransitionTime") if same else now}
            break
    else:
        conditions.append({**condition, "lastTransitionTime": now})
    status["conditions"] = conditions
