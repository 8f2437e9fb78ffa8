"""Costs and sizes as ranges, and upstream's units of them.

Source: cel-go checker/cost.go, upstream apiserver/pkg/cel/library/cost.go.
"""

import math
from typing import NamedTuple

MOST = 2**64 - 1
TRAVERSAL, REGEX_LENGTH = 0.1, 0.25  # For each character of a text; of a regular expression.
LIST_BASE, MAP_BASE, STRUCT_BASE = 10, 30, 40


class Range(NamedTuple):
    """The least and the most; both stop at MOST."""

    least: int
    most: int

    def plus(self, other: "Range") -> "Range":
        return Range(min(self.least + other.least, MOST), min(self.most + other.most, MOST))

    def times(self, other: "Range") -> "Range":
        return Range(min(self.least * other.least, MOST), min(self.most * other.most, MOST))

    def by(self, factor: float) -> "Range":
        return Range(_by(self.least, factor), _by(self.most, factor))

    def or_(self, other: "Range") -> "Range":
        return Range(min(self.least, other.least), max(self.most, other.most))


class Call(NamedTuple):
    cost: Range
    size: Range | None = None


FREE, ONE, UNKNOWN, NEITHER = Range(0, 0), Range(1, 1), Range(0, MOST), Range(MOST, 0)


def _by(number: int, factor: float) -> int:
    product = math.ceil(number * factor)
    return min(product, MOST)
