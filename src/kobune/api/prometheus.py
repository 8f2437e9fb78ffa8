"""Counters, gauges and histograms of a component, in Prometheus' text form."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

Labels = tuple[str, ...]


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Upper bounds, each so many times the one before."""
    return tuple(first * factor**power for power in range(count))


class Counter:
    """Counts by label values."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        self.name, self.labels = name, tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, *values: str, amount: float = 1) -> None:
        self.values[values] = self.values.get(values, 0) + amount

    def lines(self) -> Iterator[str]:
        for values, number in sorted(self.values.items()):
            yield f"{self.name}{_braces(self.labels, values)} {_number(number)}"


class Gauge(Counter):
    """Values that go up and down."""

    kind = "gauge"

    def set(self, *values: str, to: float) -> None:
        self.values[values] = to


class _Cells(NamedTuple):
    counts: list[int]  # Per bucket, and above all of them.
    total: list[float]  # One entry: the sum of what was observed.


class Histogram:
    """Observations by label values, in buckets."""

    kind = "histogram"

    def __init__(self, name: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name, self.labels = name, tuple(labels)
        self.buckets = tuple(buckets)
        self.cells: dict[Labels, _Cells] = {}

    def observe(self, number: float, *values: str) -> None:
        cells = self.cells.get(values)
        if cells is None:
            cells = self.cells[values] = _Cells([0] * (len(self.buckets) + 1), [0.0])
        cells.counts[bisect_left(self.buckets, number)] += 1
        cells.total[0] += number

    def lines(self) -> Iterator[str]:
        for values, cells in sorted(self.cells.items()):
            count = 0
            for bound, number in zip((*map(_number, self.buckets), "+Inf"), cells.counts, strict=True):
                count += number
                yield f"{self.name}_bucket{_braces((*self.labels, 'le'), (*values, bound))} {count}"
            yield f"{self.name}_sum{_braces(self.labels, values)} {cells.total[0]:.9g}"
            yield f"{self.name}_count{_braces(self.labels, values)} {count}"


Metric = Counter | Histogram


def render_text(metrics: Iterable[Metric]) -> str:
    """What /metrics answers; a metric without values is named all the same."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines.extend(metric.lines())
    return "\n".join(lines) + "\n"


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:.9g}"
