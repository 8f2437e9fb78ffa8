"""What if: would these workloads fit on these nodes, how full would they be, and how many nodes of which size are needed?

Pure: everything happens on tables of its own. Node pools are given as what a new node of them looks like.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.listers import overlaid
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.observe import Observation
from kobune.controlplane.scheduler.pod_info import PodParser
from kobune.controlplane.scheduler.pod_requests import PODS, Amounts, amounts_of
from kobune.controlplane.scheduler.profile import Profile
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.controlplane.scheduler.quotas import Quotas
from kobune.controlplane.scheduler.why import Pool, amount_text, fresh_node
from kobune.controlplane.scheduler.workloads import Workloads, daemon_pod

MOST_NODES = 1000  # Of one size that are tried.
_NOBODY = Nominations()


class Placement(NamedTuple):
    pod: str
    node: str


class Left(NamedTuple):
    """A pod that fits nowhere, or is not let in, with upstream's message."""

    pod: str
    message: str
    created: bool = True  # False: a quota is in the way, whatever the nodes.


class NodeLoad(NamedTuple):
    """A node of the plan: amounts in millicores of cpu, bytes, and numbers of pods."""

    name: str
    pool: str
    capacity: Amounts
    allocatable: Amounts
    requested: Amounts
    pods: int  # DaemonSets' pods included.

    def share(self, resource: str) -> float:
        """How much of what is allocatable is requested, from 0 to 1 (or more)."""
        total = self.allocatable.get(resource, 0)
        return self.requested.get(resource, 0) / total if total else 0.0


class SizeAnswer(NamedTuple):
    """How many nodes of one size would hold everything; None: no number of them."""

    size: str
    nodes: int | None
    cores: int  # Of all those nodes together.


@dataclass(frozen=True, slots=True)
class Plan:
    placements: tuple[Placement, ...]
    left: tuple[Left, ...]
    nodes: tuple[NodeLoad, ...]
    sizes: tuple[SizeAnswer, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.left

    @property
    def nodes_used(self) -> int:
        """Nodes that got a pod other than the DaemonSets'."""
        return len({placement.node for placement in self.placements})

    @property
    def cheapest(self) -> SizeAnswer | None:
        """Of the sizes asked about, the one that needs the fewest nodes, then the fewest cores."""
        able = [answer for answer in self.sizes if answer.nodes is not None]
        return min(able, key=lambda answer: (answer.nodes or 0, answer.cores), default=None)


def make_plan(
    workloads: Workloads,
    pools: Sequence[Pool],
    *,
    existing: Observation | None = None,
    sizes: Sequence[Pool] = (),
    profile: ProfileConfiguration | None = None,
    seed: int = 0,
) -> Plan:
    """Place the workloads' pods as the scheduler would, the most important first.

    Args:
        pools: nodes to place on, `size` of each; without any node, sizes alone are answered.
        existing: a cluster to plan on top of, with its nodes, pods, Services, volumes and quotas; it is not changed.
        sizes: kinds of node to answer "how many of these alone would do?" for.
    """
    listers = workloads.listers if existing is None else overlaid(existing.listers, workloads.listers)
    running = build_profile(profile or ProfileConfiguration(), listers)
    table = existing.table.copy() if existing is not None else NodeTable()
    pool_of = _add_pools(table, pools)
    quotas = Quotas((*(existing.quotas if existing is not None else ()), *workloads.quotas))
    placements, left = _place(workloads, table, running.profile, quotas, seed) if len(table) else ([], [])
    return Plan(
        tuple(placements),
        tuple(left),
        tuple(_loads(table, pool_of)),
        tuple(_size_answer(workloads, size, profile, seed) for size in sizes),
    )


def _add_pools(table: NodeTable, pools: Sequence[Pool]) -> dict[str, str]:
    pool_of = {}
    for pool in pools:
        for number in range(pool.size):
            name = f"{pool.name}-{number}"
            table.put_node(fresh_node(pool.node, name))
            pool_of[name] = pool.name
    return pool_of


def _place(
    workloads: Workloads, table: NodeTable, profile: Profile, quotas: Quotas, seed: int
) -> tuple[list[Placement], list[Left]]:
    parser, rng = PodParser(), random.Random(seed)
    for name in list(table.row_of):
        for daemon in workloads.daemons:
            info = parser.parse(daemon_pod(daemon, name))
            # A DaemonSet's pod is made only where it may run, and waits there when there is no room.
            if profile.find_node(info, table, _NOBODY, rng) is not None and not quotas.charge(info):
                table.add_pod(info, name)
    placements, left, admitted = [], [], []
    for pod in workloads.pods:
        info = parser.parse(pod)
        refusal = quotas.charge(info)
        if refusal:
            left.append(Left(str(info.key), refusal, created=False))
        else:
            admitted.append((pod, info))
    for pod, info in sorted(admitted, key=lambda one: -one[1].priority):
        row = profile.find_node(info, table, _NOBODY, rng)
        if row is None:
            left.append(Left(str(info.key), profile.diagnose(info, table, _NOBODY).message()))
            continue
        name = table.names[row]
        table.add_pod(parser.parse(_bound(pod, name)), name)
        placements.append(Placement(str(info.key), name))
    return placements, left


def _bound(pod: Pod, node_name: str) -> Pod:
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=node_name))


def _loads(table: NodeTable, pool_of: Mapping[str, str]) -> Iterable[NodeLoad]:
    for row in table.node_rows().tolist():
        node = table.nodes[row]
        if node is None:
            continue
        requested: Amounts = {}
        for pod in table.pods[row].values():
            for resource, amount in pod.shape.amounts.items():
                requested[resource] = requested.get(resource, 0) + amount
        count = len(table.pods[row])
        yield NodeLoad(
            node.name,
            pool_of.get(node.name, ""),
            amounts_of(node.status.capacity),
            amounts_of(node.status.allocatable),
            {**requested, PODS: count},
            count,
        )


# How many nodes of one size.


def _size_answer(workloads: Workloads, size: Pool, profile: ProfileConfiguration | None, seed: int) -> SizeAnswer:
    def fits(nodes: int) -> bool:
        plan = make_plan(workloads, [size._replace(size=nodes)], profile=profile, seed=seed)
        return not any(one.created for one in plan.left)

    cores = amounts_of(size.node.status.capacity).get("cpu", 0) // 1000
    enough = _least_by_sums(workloads, size)
    # Twice as many until it fits, then the fewest in between.
    tried = enough - 1
    while not fits(enough):
        tried, enough = enough, 2 * enough
        if enough > MOST_NODES or (tried >= len(workloads.pods) and tried > 1):
            return SizeAnswer(size.name, None, 0)
    while enough - tried > 1:
        middle = (tried + enough) // 2
        if fits(middle):
            enough = middle
        else:
            tried = middle
    return SizeAnswer(size.name, enough, enough * cores)


def _least_by_sums(workloads: Workloads, size: Pool) -> int:
    """A number of nodes that certainly is not too many: all requests over what one node can give."""
    parser = PodParser()
    totals: Amounts = {PODS: len(workloads.pods)}
    for pod in workloads.pods:
        for resource, amount in parser.parse(pod).shape.amounts.items():
            totals[resource] = totals.get(resource, 0) + amount
    offered = amounts_of(size.node.status.allocatable)
    return max([1, *(-(-amount // offered[name]) for name, amount in totals.items() if offered.get(name))])


# As text and JSON.


def render_plan(plan: Plan) -> str:
    """What the plan comes to: the verdict, the nodes and how full they are, what is left over and why."""
    lines = []
    if plan.nodes:
        total = len(plan.placements) + len(plan.left)
        verdict = "Everything fits" if plan.fits else f"{len(plan.left)} of {total} pods do not fit"
        lines.append(f"{verdict}: {len(plan.placements)} pods on {plan.nodes_used} of {len(plan.nodes)} nodes.")
    for load in plan.nodes:
        cpu, memory = load.share("cpu"), load.share("memory")
        free = {name: load.allocatable.get(name, 0) - load.requested.get(name, 0) for name in ("cpu", "memory")}
        lines.append(
            f"  {load.name}: cpu {cpu:.0%}, memory {memory:.0%}, pods {load.pods}/{load.allocatable.get(PODS, 0)};"
            f" free {amount_text('cpu', free['cpu'])} cpu, {amount_text('memory', free['memory'])} memory"
        )
    lines += [f"  left over: {left.pod}: {left.message}" for left in plan.left]
    for answer in plan.sizes:
        number = "does not hold it" if answer.nodes is None else f"{answer.nodes} nodes, {answer.cores} cores"
        best = " (fewest nodes)" if answer == plan.cheapest else ""
        lines.append(f"  with {answer.size} alone: {number}{best}")
    return "\n".join(lines) + "\n"


def plan_json(plan: Plan) -> Json:
    """The same as JSON."""
    return {
        "fits": plan.fits,
        "nodesUsed": plan.nodes_used,
        "placements": [placement._asdict() for placement in plan.placements],
        "left": [left._asdict() for left in plan.left],
        "nodes": [
            {
                **load._asdict(),
                "utilization": {name: round(load.share(name), 3) for name in ("cpu", "memory", PODS)},
            }
            for load in plan.nodes
        ],
        "sizes": [answer._asdict() for answer in plan.sizes],
        "cheapest": plan.cheapest.size if plan.cheapest else None,
    }
