"""Why a pod is pending, and the least that would have to change: an answer from the masks, as values.

Pure: takes the table, the profile and what the cluster's pools could offer; tries things on a copy of the table.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from kobune.api.objects.core import Node
from kobune.controlplane.scheduler.after_filters import after_filters
from kobune.controlplane.scheduler.arrays import Mask
from kobune.controlplane.scheduler.diagnosis import Diagnosis
from kobune.controlplane.scheduler.group_cycle import ASKED_TO_WAIT, UNSCHEDULABLE
from kobune.controlplane.scheduler.node_rules import find_untolerated
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.plugins.gang_scheduling import TOO_FEW_EXIST, TOO_FEW_PLACED
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.pod_requests import CPU, PODS, amounts_of
from kobune.controlplane.scheduler.preemption import Room
from kobune.controlplane.scheduler.profile import Profile
from kobune.controlplane.scheduler.profiles import Running
from kobune.controlplane.scheduler.views import PodDisruptionBudget

CLOSEST = 3  # Nodes that are looked at in detail.
NAMED = 5  # Nodes that are named per rule.
POOL_LABELS = ("kubernetes.azure.com/agentpool", "agentpool")
ZONE_LABEL = "topology.kubernetes.io/zone"
SYSTEM_NAMESPACE = "kube-system"


class Outcome(StrEnum):
    """What it would take."""

    FITS = "fits"  # A node would take it now; it has only not been tried yet.
    WAITING = "waiting"  # For a gate, a volume or the end of a back-off; nodes are not the matter.
    EVICTION = "after eviction"
    SCALE_UP = "after scale-up"
    NEVER = "never"  # On any pool, as the pod and the pools are.
    REFUSED = "refused"  # The pod was never created.


class Pool(NamedTuple):
    """A kind of node that the cluster has, or could have."""

    name: str
    node: Node  # As a new node of the pool would be.
    size: int = 0
    max_size: int | None = None  # The autoscaler's limit; None: somebody scales it by hand.
    daemons: tuple[PodInfo, ...] = ()  # Pods that every node of the pool runs.

    @property
    def is_full(self) -> bool:
        return self.max_size is not None and self.size >= self.max_size


class Rule(NamedTuple):
    """Nodes that one plugin refuses for one reason."""

    plugin: str
    reason: str
    total: int
    nodes: tuple[str, ...]  # The first few.


class Lack(NamedTuple):
    """What a node has of a resource, and who has taken it. Millicores of cpu, bytes, or numbers."""

    resource: str
    wanted: int
    free: int
    capacity: int
    reserved: int  # Capacity that is not allocatable: kept for the kubelet, the system and eviction.
    daemons: int  # Asked for by pods of DaemonSets.
    system: int  # By other pods of kube-system.
    others: int


class Near(NamedTuple):
    """One of the nodes that come closest."""

    node: str
    reasons: tuple[str, ...]  # Of every plugin that refuses it, not of the first alone.
    lacks: tuple[Lack, ...]


class Change(NamedTuple):
    """Something that would make the pod fit."""

    text: str
    nodes: int  # On how many nodes it would then fit.


@dataclass(frozen=True, slots=True)
class Explanation:
    pod: str
    outcome: Outcome
    message: str  # Upstream's.
    waits_for: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    closest: tuple[Near, ...] = ()
    changes: tuple[Change, ...] = ()


class Gang(NamedTuple):
    """The PodGroup that the pod is of."""

    name: str
    needs: int | None  # Pods at once; None: there is no such group.
    exist: int = 0  # Pods of it.
    placed: int = 0  # Of those, the ones with a node.
    waiting: tuple[PodInfo, ...] = ()  # And the ones without, in the order in which they are tried.


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the pod's wait beside the nodes."""

    gates: tuple[str, ...] = ()
    gang: Gang | None = None
    backoff_seconds: float = 0.0
    budgets: Sequence[PodDisruptionBudget] = ()
    pools: Sequence[Pool] | None = None  # None: what the nodes' own pool labels tell.
    declared: Sequence[Pool] = ()  # What their owner says of pools: sizes, limits, and pools without a node.
    offers: Sequence[Pool] = ()  # Node sizes that the cluster has no pool of.
    seed: int = 0
    nominated: Nominations = field(default_factory=Nominations)


def explain(pod: PodInfo, nodes: NodeTable, running: Running, situation: Situation | None = None) -> Explanation:
    """Why the pod has no node, and what would give it one. The table is as before in the end."""
    situation = situation or Situation()
    profile = running.profile
    if situation.gates:
        names = ", ".join(situation.gates)
        waits = (f"scheduling gates: {names}",)
        message = f"waiting for scheduling gates: [{' '.join(situation.gates)}]"
        return Explanation(str(pod.key), Outcome.WAITING, message, waits)
    nominated = situation.nominated
    if situation.gang is not None:
        explanation = _gang(pod, nodes, running, situation.gang, nominated)
        if explanation is not None:
            return explanation
    if profile.feasible(pod, nodes, nominated).any():
        if situation.backoff_seconds > 0:
            waits = (f"the end of its back-off, in {situation.backoff_seconds:.0f} s",)
            return Explanation(str(pod.key), Outcome.WAITING, "", waits)
        return Explanation(str(pod.key), Outcome.FITS, "")
    diagnosis = profile.diagnose(pod, nodes, nominated)
    rng = random.Random(situation.seed)
    tried = after_filters(pod, nodes, nominated, running, diagnosis, situation.budgets, rng) if len(nodes) else None
    room = tried.room if tried is not None else None
    pools = situation.pools if situation.pools is not None else pools_of(nodes)
    pools = with_declared(pools, situation.declared)
    growing = [pool for pool in pools if not diagnosis.refusal and fits_new_node(pod, pool, nodes, profile)]
    changes = [*_evictions(room), *_pool_changes(growing)]
    changes += _pod_changes(pod, nodes, profile) if not diagnosis.refusal else []
    if not growing and not diagnosis.refusal:
        changes += [
            Change(f"a node pool of size {offer.name}", 1)
            for offer in situation.offers
            if fits_new_node(pod, offer, nodes, profile)
        ][:1]
    return Explanation(
        pod=str(pod.key),
        outcome=_outcome(diagnosis, room, growing),
        message=(tried.diagnosis if tried is not None else diagnosis).message(),
        waits_for=(diagnosis.refusal,) if diagnosis.refusal else (),
        rules=tuple(_rules(diagnosis, nodes)),
        closest=() if diagnosis.refusal else tuple(closest_nodes(pod, nodes, profile)),
        changes=tuple(changes),
    )


def _gang(pod: PodInfo, nodes: NodeTable, running: Running, gang: Gang, nominated: Nominations) -> Explanation | None:
    """When it is the gang that the pod waits for, and not a node of its own."""
    name = gang.name
    if gang.needs is None:
        message = f'waiting for pods\'s pod group "{name}" to appear in scheduling queue'
        return Explanation(str(pod.key), Outcome.WAITING, message, (f"PodGroup {name}, which does not exist",))
    if gang.exist < gang.needs:
        waits = f"its gang: PodGroup {name} has {gang.exist} of the {gang.needs} pods that it needs"
        return Explanation(str(pod.key), Outcome.WAITING, TOO_FEW_EXIST, (waits,))
    together = gang.placed + len(placed_together(gang.waiting, nodes, running.profile, nominated))
    if together >= gang.needs or not running.profile.feasible(pod, nodes, nominated).any():
        return None
    waits = f"its gang: there is room for {together} of the pods of PodGroup {name}, which needs {gang.needs} at once"
    return Explanation(str(pod.key), Outcome.WAITING, f"{UNSCHEDULABLE}, {TOO_FEW_PLACED}, {ASKED_TO_WAIT}", (waits,))


def placed_together(
    pods: Sequence[PodInfo], nodes: NodeTable, profile: Profile, nominated: Nominations
) -> list[PodInfo]:
    """Those of the pods that find a node when each sees those before it as placed. The table is as before in the end."""
    with ExitStack() as placed:
        found, rng = [], random.Random(0)
        for pod in pods:
            row = profile.find_node(pod, nodes, nominated, rng)
            if row is not None:
                nodes.add_pod(pod, nodes.names[row])
                placed.callback(nodes.remove_pod, pod.uid, nodes.names[row])
                found.append(pod)
    return found


def refused_at_admission(pod: str, message: str) -> Explanation:
    """For a pod that does not exist because the API server did not let it in: its controller's event says why."""
    changes = (Change("raise the quota, or ask for less", 0),) if "exceeded quota" in message else ()
    return Explanation(pod, Outcome.REFUSED, message, changes=changes)


def _outcome(diagnosis: Diagnosis, room: Room | None, growing: Sequence[Pool]) -> Outcome:
    if diagnosis.refusal and "PersistentVolumeClaim" in diagnosis.refusal:
        return Outcome.WAITING
    if room is not None:
        return Outcome.EVICTION
    return Outcome.SCALE_UP if growing else Outcome.NEVER


def _rules(diagnosis: Diagnosis, nodes: NodeTable) -> Iterable[Rule]:
    for exclusion in sorted(diagnosis.exclusions, key=lambda one: -int(np.count_nonzero(one.rows))):
        names = sorted(nodes.names[row] for row in np.flatnonzero(exclusion.rows))
        yield Rule(exclusion.plugin, exclusion.text, len(names), tuple(names[:NAMED]))


# The closest nodes.


def closest_nodes(pod: PodInfo, nodes: NodeTable, profile: Profile) -> list[Near]:
    """The nodes that the fewest plugins refuse, those with the least lacking first."""
    refused_by = {
        plugin.name: nodes.exists[nodes.rows] & ~plugin.filter(pod, nodes, nodes.rows)
        for plugin in profile.filters
        if plugin.concerns(pod)
    }
    objections = np.zeros(nodes.size, dtype=np.int64)
    for mask in refused_by.values():
        objections += mask
    rows = nodes.node_rows()
    shortage = _shortage(pod, nodes)
    order = sorted(rows.tolist(), key=lambda row: (objections[row], shortage[row], nodes.names[row]))
    return [
        Near(nodes.names[row], tuple(_all_reasons(pod, nodes, profile, refused_by, row)), tuple(lacks(pod, nodes, row)))
        for row in order[:CLOSEST]
    ]


def _all_reasons(
    pod: PodInfo, nodes: NodeTable, profile: Profile, refused_by: Mapping[str, Mask], row: int
) -> Iterable[str]:
    for plugin in profile.filters:
        if plugin.name in refused_by and refused_by[plugin.name][row]:
            if plugin.name == "TaintToleration":
                taint = find_untolerated(nodes.taint_sets[nodes.taint_codes[row]], pod.shape.tolerations)
                if taint is not None:
                    yield f"untolerated taint {taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect}"
                continue
            for reason in plugin.explain(pod, nodes):
                if reason.rows[row]:
                    yield reason.text


def _shortage(pod: PodInfo, nodes: NodeTable) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The sum over resources of what is missing, as a share of what is wanted."""
    total = np.zeros(nodes.size)
    for name, wanted in pod.shape.amounts.items():
        column = nodes.resource_column(name)
        free = 0 if column is None else nodes.allocatable[column, nodes.rows] - nodes.requested[column, nodes.rows]
        if wanted:
            total += np.maximum(wanted - free, 0) / wanted
    return total


def lacks(pod: PodInfo, nodes: NodeTable, row: int) -> Iterable[Lack]:
    """The resources of which a node has too little left for the pod, with the whole account of each."""
    node = nodes.nodes[row]
    if node is None:
        return
    capacity, allocatable = amounts_of(node.status.capacity), amounts_of(node.status.allocatable)
    wanted = {**pod.shape.amounts, PODS: 1}
    for name, amount in wanted.items():
        available = allocatable.get(name, 0)
        daemons = system = others = 0
        for one in nodes.pods[row].values():
            own = 1 if name == PODS else one.shape.amounts.get(name, 0)
            if one.shape.owner[1] == "DaemonSet":
                daemons += own
            elif one.shape.namespace == SYSTEM_NAMESPACE:
                system += own
            else:
                others += own
        free = available - daemons - system - others
        if amount > free:
            total = capacity.get(name, available)
            yield Lack(name, amount, free, total, total - available, daemons, system, others)


# What would help.


def _evictions(room: Room | None) -> list[Change]:
    if room is None:
        return []
    names = ", ".join(str(victim.key) for victim in room.victims)
    broken = f" (breaking {room.violations} disruption budgets)" if room.violations else ""
    return [Change(f"evict {names} from {room.node_name}, of lower priority{broken}", 1)]


def _pool_changes(pools: Sequence[Pool]) -> list[Change]:
    texts = [
        f"raise the limit of pool {pool.name}, which is reached: nodes {pool.size}, at most {pool.max_size}"
        if pool.is_full
        else f"one more node in pool {pool.name}{_zone(pool)}"
        for pool in pools
    ]
    return [Change(text, 1) for text in dict.fromkeys(texts)]


def _zone(pool: Pool) -> str:
    zone = pool.node.metadata.labels.get(ZONE_LABEL, "")
    # Nodes without a zone carry a fault domain's number in its place.
    return f" in zone {zone}" if zone and not zone.isdecimal() else ""


def _pod_changes(pod: PodInfo, nodes: NodeTable, profile: Profile) -> list[Change]:
    """Changes of the pod itself that would let it fit as things are, one rule at a time."""
    concerned = [plugin for plugin in profile.filters if plugin.concerns(pod)]
    passes = {plugin.name: plugin.filter(pod, nodes, nodes.rows) for plugin in concerned}
    exists = nodes.exists[nodes.rows]
    changes = []
    for plugin in concerned:
        others = [mask for name, mask in passes.items() if name != plugin.name]
        only = exists & ~passes[plugin.name] & (np.logical_and.reduce(others) if others else exists)
        rows = np.flatnonzero(only)
        if not len(rows):
            continue
        match plugin.name:
            case "NodeResourcesFit":
                changes += _smaller_request(pod, nodes, rows.tolist())
            case "TaintToleration":
                changes += _tolerations(pod, nodes, rows.tolist())
            case "NodeAffinity" if pod.pod.spec.node_selector:
                labels = ", ".join(f"{key}={value}" for key, value in sorted(pod.pod.spec.node_selector.items()))
                changes.append(Change(f"a node with the labels {labels}, or a looser node selector", len(rows)))
            case name if name in _LOOSER:
                changes.append(Change(_LOOSER[name], len(rows)))
    return changes


_LOOSER = {
    "NodeAffinity": "another node selector or node affinity",
    "NodeUnschedulable": "uncordon a node",
    "NodePorts": "another host port, or none",
    "PodTopologySpread": "a larger maxSkew, or ScheduleAnyway",
    "InterPodAffinity": "preferred instead of required pod affinity and anti-affinity",
    "VolumeZone": "a volume in another zone",
    "VolumeBinding": "a volume that can be had on these nodes",
    "NodeVolumeLimits": "fewer volumes on these nodes",
}


def _smaller_request(pod: PodInfo, nodes: NodeTable, rows: Sequence[int]) -> list[Change]:
    """The least reduction that lets the pod onto some node."""
    shortage = _shortage(pod, nodes)
    row = min(rows, key=lambda one: (shortage[one], nodes.names[one]))
    short = [lack for lack in lacks(pod, nodes, row) if lack.resource != PODS]
    if not short or any(lack.free <= 0 for lack in short):
        return []
    parts = " and ".join(f"{amount_text(lack.resource, lack.free)} {lack.resource}" for lack in short)
    return [Change(f"ask for at most {parts}", 1)]


def _tolerations(pod: PodInfo, nodes: NodeTable, rows: Sequence[int]) -> list[Change]:
    counts: dict[str, int] = {}
    for row in rows:
        taint = find_untolerated(nodes.taint_sets[nodes.taint_codes[row]], pod.shape.tolerations)
        if taint is not None:
            text = f"tolerate the taint {taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect}"
            counts[text] = counts.get(text, 0) + 1
    return [Change(text, count) for text, count in sorted(counts.items())]


def pools_of(nodes: NodeTable) -> list[Pool]:
    """The pools that the nodes' labels tell of, once per zone.

    A new node is like the first one of its pool and zone, with that node's DaemonSet pods.
    """
    pools: dict[tuple[str, str], Pool] = {}
    for row in nodes.node_rows().tolist():
        node = nodes.nodes[row]
        assert node is not None
        name = next((value for label in POOL_LABELS if (value := node.metadata.labels.get(label))), "")
        if not name:
            continue
        key = (name, node.metadata.labels.get(ZONE_LABEL, ""))
        if key in pools:
            pools[key] = pools[key]._replace(size=pools[key].size + 1)
            continue
        daemons = tuple(one for one in nodes.pods[row].values() if one.shape.owner[1] == "DaemonSet")
        pools[key] = Pool(name, node, 1, None, daemons)
    return list(pools.values())


def with_declared(found: Sequence[Pool], declared: Sequence[Pool]) -> list[Pool]:
    """Pools found by their nodes, with the limits that their owner has set; then those that have no node now."""
    limits = {pool.name: pool.max_size for pool in declared}
    sizes: Counter[str] = Counter()
    for pool in found:
        sizes[pool.name] += pool.size
    bounded = [
        pool._replace(size=sizes[pool.name], max_size=limits[pool.name]) if pool.name in limits else pool
        for pool in found
    ]
    return bounded + [pool._replace(size=0) for pool in declared if pool.name not in sizes]


def fits_new_node(pod: PodInfo, pool: Pool, nodes: NodeTable, profile: Profile) -> bool:
    """Whether a fresh node of the pool would take the pod, all other nodes being as they are."""
    name = f"new-node-of-{pool.name}"
    row = nodes.put_node(fresh_node(pool.node, name))
    try:
        for daemon in pool.daemons:
            nodes.add_pod(_twin(daemon, name), name)
        return profile.accepts(pod, nodes, row)
    finally:
        for daemon in pool.daemons:
            nodes.remove_pod(f"{daemon.uid}@{name}", name)
        nodes.remove_node(name)


def fresh_node(template: Node, name: str) -> Node:
    """A node like the template under another name: schedulable, without the taints of a passing trouble."""
    labels = {**template.metadata.labels, "kubernetes.io/hostname": name}
    metadata = msgspec.structs.replace(template.metadata, name=name, labels=labels, uid=name)
    lasting = [taint for taint in template.spec.taints if not taint.key.startswith("node.kubernetes.io/")]
    spec = msgspec.structs.replace(template.spec, unschedulable=False, taints=lasting)
    return msgspec.structs.replace(template, metadata=metadata, spec=spec)


def _twin(pod: PodInfo, node_name: str) -> PodInfo:
    return PodInfo(pod.pod, pod.shape, pod.key, f"{pod.uid}@{node_name}", pod.priority, pod.created, pod.deleting)


def amount_text(resource: str, amount: int) -> str:
    """As a manifest would have it: `1500m`, `2`, `1.5Gi`."""
    if resource == CPU:
        return f"{amount // 1000}" if amount % 1000 == 0 else f"{amount}m"
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
            if abs(amount) >= size:
                return f"{amount / size:.2f}".rstrip("0").rstrip(".") + unit
    return str(amount)
