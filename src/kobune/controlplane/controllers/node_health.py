"""What is known of nodes' heartbeats and of their zones' health. Decisions only; `node_lifecycle.py` acts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kobune.api.errors import Json
from kobune.api.objects.core import Node, Taint
from kobune.api.objects.meta import find_condition
from kobune.api.timestamps import format_time
from kobune.controlplane.controllers.controller import Settings

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
# Condition type and status to the key of the taint that keeps new pods away. Source: upstream nodeConditionToTaintKeyStatusMap.
TAINT_OF_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
}
OURS_NO_SCHEDULE = frozenset((*TAINT_OF_CONDITION.values(), UNSCHEDULABLE))
OURS_NO_EXECUTE = frozenset((NOT_READY, UNREACHABLE))
BY_KUBELET = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")  # What falls silent with the kubelet.
EXCLUDED = "node.kubernetes.io/exclude-disruption"


class Disruption(StrEnum):
    """How much of a zone is unhealthy."""

    NONE = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


@dataclass(slots=True)
class Zone:
    """Counts of a zone's nodes, and when its next node may be tainted NoExecute."""

    ready: int = 0
    not_ready: int = 0
    next_eviction: float = 0.0

    def disruption(self, threshold: float) -> Disruption:
        """Source: upstream ComputeZoneState."""
        if self.ready == 0 and self.not_ready > 0:
            return Disruption.FULL
        if self.not_ready > 2 and self.not_ready / (self.ready + self.not_ready) >= threshold:
            return Disruption.PARTIAL
        return Disruption.NONE

    def rate(self, settings: Settings) -> float:
        """Nodes a second that may be tainted NoExecute. Source: upstream setLimiterInZone."""
        if self.disruption(settings.unhealthy_zone_threshold) is not Disruption.PARTIAL:
            return settings.node_eviction_rate
        large = self.ready + self.not_ready > settings.large_cluster_size_threshold
        return settings.secondary_node_eviction_rate if large else 0.0


@dataclass(slots=True)
class Health:
    """Heartbeats by node name, on the monotonic clock, and zones by key."""

    seen: dict[str, float] = field(default_factory=dict)
    zones: defaultdict[str, Zone] = field(default_factory=lambda: defaultdict(Zone))
    known: set[str] = field(default_factory=set)

    def count(self, old: Node | None, new: Node | None) -> None:
        """Keep the zones' counts."""
        for node, step in ((old, -1), (new, 1)):
            if (
                node is None
                or EXCLUDED in node.metadata.labels
                or find_condition(node.status.conditions, "Ready") is None
            ):
                continue
            zone = self.zones[zone_of(node)]
            if node.is_ready:
                zone.ready += step
            else:
                zone.not_ready += step

    @property
    def is_everything_down(self) -> bool:
        """Every zone is fully disrupted: then it is likely we who are cut off, and nobody is evicted."""
        zones = [zone for zone in self.zones.values() if zone.ready or zone.not_ready]
        return bool(zones) and all(zone.ready == 0 for zone in zones)

    def wait_to_evict(self, node: Node, settings: Settings, now: float) -> float | None:
        """0 when the node may be tainted NoExecute now (and then the zone's next one later); else seconds to wait.

        None: not while the zone is as it is.
        """
        zone = self.zones[zone_of(node)]
        rate = zone.rate(settings)
        if rate <= 0:
            return None
        if now < zone.next_eviction:
            return zone.next_eviction - now
        zone.next_eviction = now + 1 / rate
        return 0.0


def zone_of(node: Node) -> str:
    """Region and zone; nodes without either are one zone."""
    labels = node.metadata.labels
    return f"{labels.get('topology.kubernetes.io/region', '')}:{labels.get('topology.kubernetes.io/zone', '')}"


def heartbeat_of(node: Node) -> datetime | None:
    """When the kubelet last posted the node's status."""
    ready = find_condition(node.status.conditions, "Ready")
    return ready.last_heartbeat_time if ready is not None else None


def no_schedule_taints(node: Node) -> set[str]:
    """The keys of NoSchedule taints that the node's conditions call for."""
    found = (TAINT_OF_CONDITION.get((each.type, each.status)) for each in node.status.conditions)
    keys = {key for key in found if key is not None}
    return keys | {UNSCHEDULABLE} if node.spec.unschedulable else keys


def no_execute_taint(node: Node) -> str | None:
    """The key of the NoExecute taint that the node's Ready condition calls for."""
    ready = find_condition(node.status.conditions, "Ready")
    return {"False": NOT_READY, "Unknown": UNREACHABLE}.get(ready.status) if ready is not None else None


def plan_taints(node: Node, no_execute: str | None, now: datetime) -> list[Taint] | None:
    """All taints the node should have; None when it has them. Taints that are not ours stay."""
    wanted = {(key, "NoSchedule") for key in no_schedule_taints(node)}
    if no_execute is not None:
        wanted.add((no_execute, "NoExecute"))
    kept = []
    for taint in node.spec.taints:
        ours = taint.key in (OURS_NO_SCHEDULE if taint.effect == "NoSchedule" else OURS_NO_EXECUTE)
        if taint.effect == "PreferNoSchedule" or not ours or (taint.key, taint.effect) in wanted:
            kept.append(taint)
    have = {(taint.key, taint.effect) for taint in kept}
    moment = now.replace(microsecond=0)
    new = [Taint(key=key, effect=effect, time_added=moment) for key, effect in sorted(wanted - have)]
    return [*kept, *new] if new or len(kept) != len(node.spec.taints) else None


def taints_json(taints: Sequence[Taint]) -> list[Json]:
    """The taints as the API has them."""
    written = []
    for taint in taints:
        entry: Json = {"key": taint.key, "effect": taint.effect}
        if taint.value:
            entry["value"] = taint.value
        if taint.time_added is not None:
            entry["timeAdded"] = format_time(taint.time_added)
        written.append(entry)
    return written


def unknown_conditions(node: Node, now: datetime) -> list[Json]:
    """The kubelet's conditions as Unknown, those that are not so yet; for a strategic merge."""
    changed: list[Json] = []
    for kind in BY_KUBELET:
        known = find_condition(node.status.conditions, kind)
        entry: Json = {"type": kind, "status": "Unknown", "lastTransitionTime": format_time(now)}
        if known is None:
            entry |= {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
            if node.metadata.creation_timestamp is not None:
                entry["lastHeartbeatTime"] = format_time(node.metadata.creation_timestamp)
        elif known.status != "Unknown":
            entry |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        else:
            continue
        changed.append(entry)
    return changed
