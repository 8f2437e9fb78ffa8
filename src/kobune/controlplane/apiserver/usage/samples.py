"""From what a kubelet says of its pods, twice, to what each container used in between."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.objects.meta import Key


class Counter(NamedTuple):
    """What the kubelet says of one container or of its whole node.

    `cpu_ns` is cpu time since the start, None where the kubelet only knows `nanocores`, the cpu in use.
    """

    cpu_ns: int | None
    nanocores: int
    memory_bytes: int


class Usage(NamedTuple):
    nanocores: int
    memory_bytes: int

    def __add__(self, other: object) -> "Usage":
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(self.nanocores + other.nanocores, self.memory_bytes + other.memory_bytes)


@dataclass(slots=True)
class Sample:
    """One look at a kubelet's summary. `moment` is on the clock that never goes back, in seconds."""

    at: datetime
    moment: float
    nodes: dict[str, Counter] = field(default_factory=dict)
    pods: dict[Key, dict[str, Counter]] = field(default_factory=dict)  # By pod, then by container.


@dataclass(slots=True)
class Window:
    """The last look and the one before."""

    last: Sample
    before: Sample | None = None

    @property
    def seconds(self) -> float:
        return self.last.moment - self.before.moment if self.before is not None else 0.0

    def node(self, name: str) -> Usage | None:
        """None: the kubelet does not say."""
        counter = self.last.nodes.get(name)
        if counter is None:
            return None
        return self._usage(counter, self.before.nodes.get(name) if self.before is not None else None)

    def pod(self, key: Key) -> dict[str, Usage]:
        """By container; empty when the kubelet knows no such pod, or has not known it long enough."""
        before = self.before.pods.get(key, {}) if self.before is not None else {}
        return {
            name: usage
            for name, counter in self.last.pods.get(key, {}).items()
            if (usage := self._usage(counter, before.get(name))) is not None
        }

    def _usage(self, counter: Counter, before: Counter | None) -> Usage | None:
        if counter.cpu_ns is None:
            return Usage(counter.nanocores, counter.memory_bytes)
        if before is None or before.cpu_ns is None or before.cpu_ns > counter.cpu_ns or self.seconds <= 0:
            return None  # New, or started again.
        return Usage(int((counter.cpu_ns - before.cpu_ns) / self.seconds), counter.memory_bytes)

    @property
    def is_complete(self) -> bool:
        """Whether all that the last look saw can be told."""
        if any(counter.cpu_ns is not None for counter in self.last.nodes.values()) and self.before is None:
            return False
        return all(len(self.pod(key)) == len(containers) for key, containers in self.last.pods.items())


def read_summary(summary: Json, at: datetime, moment: float) -> Sample:
    """A sample of GET /stats/summary."""
    sample = Sample(at, moment)
    node = summary.get("node") or {}
    if node.get("nodeName"):
        sample.nodes[node["nodeName"]] = _counter(node)
    for pod in summary.get("pods") or ():
        reference = pod["podRef"]
        key = Key(reference["namespace"], reference["name"])
        sample.pods[key] = {one["name"]: _counter(one) for one in pod.get("containers") or ()}
    return sample


def _counter(entry: Mapping[str, Json]) -> Counter:
    cpu, memory = entry.get("cpu") or {}, entry.get("memory") or {}
    return Counter(cpu.get("usageCoreNanoSeconds"), cpu.get("usageNanoCores", 0), memory.get("workingSetBytes", 0))
