"""Sums and comparisons of resource lists: amounts as written, by resource name. Source: upstream quota/v1 resources.go."""

from collections.abc import Collection, Mapping

from kobune.api.quantity import added, canonical, parse_quantity, subtracted

Amounts = Mapping[str, str]


def plus(first: Amounts, second: Amounts) -> dict[str, str]:
    """Both together."""
    return {**first, **{name: added(first.get(name, "0"), amount) for name, amount in second.items()}}


def increase(new: Amounts, old: Amounts) -> dict[str, str]:
    """What `new` has more than `old`; less counts as nothing."""
    grown = {name: subtracted(amount, old.get(name, "0")) for name, amount in new.items()}
    return {name: amount for name, amount in grown.items() if parse_quantity(amount) > 0}


def some(amounts: Amounts) -> dict[str, str]:
    """Without what is zero."""
    return {name: amount for name, amount in amounts.items() if parse_quantity(amount)}


def only(amounts: Amounts, names: Collection[str]) -> dict[str, str]:
    return {name: amount for name, amount in amounts.items() if name in names}


def exceeding(amounts: Amounts, hard: Amounts) -> list[str]:
    """The names of which there is more than allowed."""
    return [
        name for name, amount in amounts.items() if name in hard and parse_quantity(amount) > parse_quantity(hard[name])
    ]


def written(amounts: Amounts) -> str:
    """`cpu=1,memory=2Gi`"""
    return ",".join(f"{name}={canonical(amounts[name])}" for name in sorted(amounts))
