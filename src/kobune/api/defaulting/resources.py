"""Resource lists: kept to a thousandth, and limits that stand in for requests."""

from kobune.api.errors import Json
from kobune.api.quantity import rounded_to_milli

_FINER = ("n", "u")


def round_up(amounts: Json | None) -> None:
    """Round up what is finer than a thousandth."""
    if amounts:
        for name, amount in amounts.items():
            if isinstance(amount, str) and (amount.endswith(_FINER) or "e-" in amount):
                amounts[name] = rounded_to_milli(amount)


def round_up_requirements(requirements: Json | None) -> None:
    """The same for the limits and requests of a `resources` block."""
    if requirements:
        round_up(requirements.get("limits"))
        round_up(requirements.get("requests"))


def requests_from_limits(containers: list[Json] | None) -> None:
    """A resource with a limit and no request requests its limit."""
    for container in containers or ():
        resources = container.get("resources")
        if resources and (limits := resources.get("limits")):
            requests = resources.setdefault("requests", {})
            for name, amount in limits.items():
                if name not in requests:
                    requests[name] = amount
