"""Expanders: which of several groups grows. Source: upstream cluster-autoscaler, expander."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kobune.api.objects.scheduling import Pod
from kobune.controlplane.autoscaler.model import Amounts, Group

NAMES = ("random", "least-waste", "most-pods", "priority")


@dataclass(frozen=True, slots=True)
class Option:
    """A group that could grow, and what it would bring.

    Attributes:
        requested: by all these pods together.
        allocatable: of one new node.
    """

    group: Group
    nodes: int
    pods: tuple[Pod, ...]
    requested: Amounts
    allocatable: Amounts

    @property
    def waste(self) -> float:
        """The mean share of cpu and memory that would stay unused, from 0 to 1."""
        shares = []
        for resource in ("cpu", "memory"):
            there = self.allocatable.get(resource, 0) * self.nodes
            shares.append((there - self.requested.get(resource, 0)) / there if there else 0.0)
        return sum(shares) / 2


def choose(
    options: Sequence[Option], chain: Sequence[str], priorities: Mapping[int, Sequence[str]], rng: random.Random
) -> Option | None:
    """The option that the expanders agree on; chance decides between equals."""
    left = list(options)
    for name in chain:
        left = _narrow(left, name, priorities)
        if len(left) <= 1:
            break
    return rng.choice(left) if left else None


def _narrow(options: list[Option], name: str, priorities: Mapping[int, Sequence[str]]) -> list[Option]:
    if not options:
        return options
    match name:
        case "least-waste":
            least = min(option.waste for option in options)
            return [option for option in options if option.waste == least]
        case "most-pods":
            most = max(len(option.pods) for option in options)
            return [option for option in options if len(option.pods) == most]
        case "priority":
            for priority in sorted(priorities, reverse=True):
                found = [
                    option
                    for option in options
                    if any(re.search(pattern, option.group.name) for pattern in priorities[priority])
                ]
                if found:
                    return found
            return options
        case _:
            return options
