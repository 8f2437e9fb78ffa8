"""What the autoscaler tries things on: a cluster observed once, and the scheduler's own filters."""

import random
import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import msgspec
import numpy as np
import yaml

from kobune.api.errors import Json
from kobune.api.objects.core import Node
from kobune.api.objects.meta import GVK, Key, Object, find_condition
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.autoscaler.model import Amounts, Estimate
from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.observe import Observation
from kobune.controlplane.scheduler.pod_info import PodInfo, PodParser
from kobune.controlplane.scheduler.pod_requests import amounts_of
from kobune.controlplane.scheduler.profiles import build_profile
from kobune.controlplane.scheduler.why import fresh_node
from kobune.controlplane.scheduler.workloads import daemon_pod

PRIORITIES = Key("kube-system", "cluster-autoscaler-priority-expander")
_NOBODY = Nominations()


class DaemonSet(Object):
    """A DaemonSet, as far as its pods are made after it."""

    gvk: ClassVar[GVK] = GVK("apps", "v1", "DaemonSet")
    spec: Json = msgspec.field(default_factory=dict)


class Simulation:
    """One observation, as the autoscaler's `World`."""

    def __init__(
        self,
        seen: Observation,
        *,
        daemons: Sequence[Json] = (),
        budgets: Sequence[PodDisruptionBudget] = (),
        priorities: Mapping[int, Sequence[str]] | None = None,
        rng: random.Random,
    ) -> None:
        self._table = seen.table
        self._profile = build_profile(ProfileConfiguration(), seen.listers).profile
        self._parser = PodParser()
        self._daemons = daemons
        self._rng = rng
        self._made = 0
        self.budgets = budgets
        self.priorities = priorities or {}
        table = seen.table
        self.nodes = {node.name: node for row in table.node_rows().tolist() if (node := table.nodes[row]) is not None}
        self._real = {row: name for name, row in table.row_of.items() if name in self.nodes}
        waiting = [info.pod for info in seen.pending.values() if _is_unschedulable(info.pod)]
        self.pending = sorted(waiting, key=lambda pod: -pod.spec.priority)

    def pods_on(self, node: str) -> list[Pod]:
        row = self._table.row_of.get(node)
        return [info.pod for info in self._table.pods[row].values()] if row is not None else []

    def amounts(self, pod: Pod) -> Amounts:
        return self._parser.parse(pod).shape.amounts

    def allocatable(self, node: Node) -> Amounts:
        return amounts_of(node.status.allocatable)

    def expect(self, template: Node, count: int) -> None:
        for _ in range(count):
            self._add(self._table, template)

    def place(self, pods: Sequence[Pod]) -> list[Pod]:
        left = []
        for pod in pods:
            info = self._parser.parse(pod)
            row = self._profile.find_node(info, self._table, _NOBODY, self._rng)
            if row is None:
                left.append(pod)
            else:
                self._put(self._table, pod, self._table.names[row])
        return left

    def estimate(self, template: Node, pods: Sequence[Pod], most: int) -> Estimate:
        table = self._table.copy()
        rows: list[int] = []
        helped: list[Pod] = []
        hopeless: set[object] = set()
        for pod in pods:
            info = self._parser.parse(pod)
            if info.shape in hopeless:
                continue
            row = next((row for row in rows if self._profile.accepts(info, table, row)), None)
            if row is None and len(rows) < most:
                fresh = self._add(table, template)
                if self._profile.accepts(info, table, fresh):
                    rows.append(fresh)
                    row = fresh
                else:
                    self._drop(table, fresh)
                    if not _needs_company(pod):
                        hopeless.add(info.shape)
            if row is not None:
                self._put(table, pod, table.names[row])
                helped.append(pod)
        return Estimate(tuple(helped), len(rows))

    def refusals(self, template: Node, pod: Pod) -> list[str]:
        row = self._add(self._table, template)
        try:
            return self._profile.refusals(self._parser.parse(pod), self._table, row)
        finally:
            self._drop(self._table, row)

    def move(self, node: str, pods: Sequence[Pod], forbidden: Collection[str]) -> set[str] | None:
        table = self._table
        closed = {table.row_of[name] for name in {node, *forbidden} if name in table.row_of}
        before: list[PodInfo] = []
        placed: list[tuple[str, str]] = []
        places: set[str] = set()
        for pod in pods:
            info = table.remove_pod(pod.metadata.uid, node)
            if info is not None:
                before.append(info)
        for pod in pods:
            unbound = _bound(pod, "")
            mask = self._profile.feasible(self._parser.parse(unbound), table, _NOBODY)
            row = next((row for row in np.flatnonzero(mask).tolist() if row in self._real and row not in closed), None)
            if row is None:
                for uid, name in placed:
                    table.remove_pod(uid, name)
                for info in before:
                    table.add_pod(info, node)
                return None
            name = table.names[row]
            self._put(table, pod, name)
            placed.append((pod.metadata.uid, name))
            places.add(name)
        return places

    def _add(self, table: NodeTable, template: Node) -> int:
        """A new node with the pods that every such node runs; its row."""
        self._made += 1
        name = f"template-node-for-{template.name}-{self._made}"
        row = table.put_node(fresh_node(template, name))
        for daemon in self._daemons:
            info = self._parser.parse(daemon_pod(daemon, name))
            if self._profile.accepts(info, table, row):
                table.add_pod(info, name)
        return row

    def _drop(self, table: NodeTable, row: int) -> None:
        name = table.names[row]
        for uid in list(table.pods[row]):
            table.remove_pod(uid, name)
        table.remove_node(name)

    def _put(self, table: NodeTable, pod: Pod, name: str) -> None:
        table.add_pod(self._parser.parse(_bound(pod, name)), name)


def daemon_of(daemon_set: DaemonSet) -> Json:
    """A pod of the set, as its controller would make it for some node."""
    template = daemon_set.spec.get("template", {})
    meta: Json = {**template.get("metadata", {})}
    meta["name"], meta["namespace"] = daemon_set.name, daemon_set.metadata.namespace
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": meta["name"], "uid": "", "controller": True}
    return {"metadata": meta | {"ownerReferences": [owner]}, "spec": template.get("spec", {})}


def read_priorities(text: str) -> dict[int, list[str]]:
    """Lists of patterns by priority; what is malformed is passed over."""
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    if not isinstance(read, dict):
        return {}
    return {
        priority: [pattern for pattern in patterns if isinstance(pattern, str) and _is_pattern(pattern)]
        for priority, patterns in read.items()
        if isinstance(priority, int) and isinstance(patterns, list)
    }


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _is_unschedulable(pod: Pod) -> bool:
    scheduled = find_condition(pod.status.conditions, "PodScheduled")
    return scheduled is not None and scheduled.status == "False" and scheduled.reason == "Unschedulable"


def _needs_company(pod: Pod) -> bool:
    """Whether another pod on a new node could change its mind."""
    affinity = pod.spec.affinity
    return bool(pod.spec.topology_spread_constraints) or (affinity is not None and affinity.pod_affinity is not None)


def _bound(pod: Pod, node: str) -> Pod:
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=node))
