"""Which machines have become nodes, and which groups fail to grow. Source: upstream cluster-autoscaler, clusterstate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kobune.api.objects.core import Node
from kobune.controlplane.autoscaler.model import Group, Settings

STARTUP_SECONDS = 900.0  # A node that young and not Ready is still starting. Source: upstream's MaxNodeStartupTime.
FIRST_BACKOFF, MAX_BACKOFF, BACKOFF_RESET = 300.0, 1800.0, 10800.0  # Seconds. Source: upstream's flags.


@dataclass(frozen=True, slots=True)
class Counts:
    """A group's machines, or all of them."""

    registered: int = 0
    ready: int = 0
    unready: int = 0
    not_started: int = 0  # Nodes that are new and not Ready yet.
    unregistered: int = 0  # Machines that are no nodes yet.
    long_unregistered: int = 0  # Those of them for too long.

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.registered + other.registered,
            self.ready + other.ready,
            self.unready + other.unready,
            self.not_started + other.not_started,
            self.unregistered + other.unregistered,
            self.long_unregistered + other.long_unregistered,
        )


def count(group: Group, nodes: Mapping[str, Node], settings: Settings, now: float) -> Counts:
    """How far the group's machines have come; `now` in seconds since 1970."""
    there = [nodes[name] for name in group.machines if name in nodes]
    ready = sum(node.takes_pods for node in there)
    starting = sum(not node.takes_pods and _is_young(node, now) for node in there)
    late = late_machines(group, nodes, settings, now)
    waiting = len(group.machines) - len(there)
    return Counts(len(there), ready, len(there) - ready - starting, starting, waiting - len(late), len(late))


def _is_young(node: Node, now: float) -> bool:
    created = node.metadata.creation_timestamp
    return created is not None and now - created.timestamp() < STARTUP_SECONDS


def late_machines(group: Group, nodes: Mapping[str, Node], settings: Settings, now: float) -> list[str]:
    """Machines that should have become nodes by now."""
    return [
        name
        for name, since in group.machines.items()
        if name not in nodes and now - since > settings.max_node_provision_time
    ]


def expected(group: Group, counts: Counts) -> int:
    """How many nodes of the group are still on their way, those included that are there and not Ready yet."""
    return max(0, group.target - counts.ready - counts.unready - counts.long_unregistered)


def is_healthy(counts: Sequence[Counts], settings: Settings) -> bool:
    """Whether so few nodes are unready that the autoscaler may act at all."""
    total = sum(counts, Counts())
    everyone = total.registered + total.long_unregistered
    unready = total.unready + total.long_unregistered
    if unready <= settings.ok_total_unready_count:
        return True
    return unready <= everyone * settings.max_total_unready_percentage / 100


class Backoff:
    """Groups that did not grow when asked, and how long they are left alone: longer each time."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._length: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def fail(self, group: str, now: float) -> None:
        """It has not grown. Failures during a back-off are one."""
        if now < self._until.get(group, 0.0):
            return
        known = self._length.get(group, 0.0) if now - self._last.get(group, now) < BACKOFF_RESET else 0.0
        self._length[group] = min(known * 2 or FIRST_BACKOFF, MAX_BACKOFF)
        self._last[group] = now
        self._until[group] = now + self._length[group]

    def active(self, now: float) -> set[str]:
        return {group for group, until in self._until.items() if now < until}
