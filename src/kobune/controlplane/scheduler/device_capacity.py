"""Capacity that is consumed in parts: devices that several claims may use at once, each for a share of what it has.

Source: Kubernetes documentation, Consumable capacity; upstream structured allocator, consumable_capacity. Amounts are in
thousandths, as quantities are compared in expressions.
"""

from collections.abc import Iterable, Mapping

from kobune.api.errors import Json
from kobune.api.quantity import parse_quantity

MILLI = 1000
LARGEST = 2**63 - 1
Shares = dict[str, int]  # By the name that the device gives its capacity.


def as_quantity(text: str) -> int:
    """A quantity in thousandths."""
    amount = parse_quantity(text)
    return max(-LARGEST, min(LARGEST, int(amount * MILLI)))


def share_of(capacity: Mapping[str, Json], wanted: Mapping[str, int]) -> Shares | None:
    """What a request takes of each capacity of a device, as its policies round it; None when it asks for what cannot be.

    Args:
        capacity: a device's `capacity`, by name, as it is published.
        wanted: the request's `capacity.requests`.
    """
    if wanted.keys() - capacity.keys():
        return None
    shares: Shares = {}
    for name, one in capacity.items():
        policy = one.get("requestPolicy") or {}
        share = _rounded(wanted.get(name), as_quantity(one["value"]), policy)
        if share > as_quantity(one["value"]) or _violates(share, policy):
            return None
        shares[name] = share
    return shares


def fits(capacity: Mapping[str, Json], shares: Iterable[Mapping[str, int]]) -> bool:
    """Whether a device can be shared in this way."""
    total: Shares = {}
    for share in shares:
        for name, amount in share.items():
            total[name] = total.get(name, 0) + amount
    return all(name in capacity and amount <= as_quantity(capacity[name]["value"]) for name, amount in total.items())


def share_text(amount: int) -> str:
    """A share as a quantity."""
    return str(amount // MILLI) if amount % MILLI == 0 else f"{amount}m"


def _rounded(wanted: int | None, value: int, policy: Json) -> int:
    if wanted is None:
        return as_quantity(policy["default"]) if "default" in policy else value
    allowed = policy.get("validRange") or {}
    if "min" in allowed:
        least = as_quantity(allowed["min"])
        if wanted < least or "step" not in allowed:
            return max(wanted, least)
        step = as_quantity(allowed["step"])
        return least + -(-(wanted - least) // step) * step
    return next((one for one in map(as_quantity, policy.get("validValues") or ()) if wanted <= one), wanted)


def _violates(share: int, policy: Json) -> bool:
    if "default" in policy and share == as_quantity(policy["default"]):
        return False
    allowed = policy.get("validRange")
    if allowed:
        if "max" in allowed and share > as_quantity(allowed["max"]):
            return True
        least = as_quantity(allowed["min"]) if "min" in allowed else 0
        return "step" in allowed and (share - least) % as_quantity(allowed["step"]) != 0
    values = policy.get("validValues") or ()
    return bool(values) and share not in map(as_quantity, values)
