"""What the autoscaler sees of its cluster: a copy kept true by watching, out of which each scan takes what it tries things on."""

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any, TypeVar

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.api.objects.core import ConfigMap, Node
from kobune.api.objects.meta import Key, Object
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.controlplane.scheduler.listers import KINDS, Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.observe import Observation, served_kinds
from kobune.controlplane.scheduler.pod_info import PodInfo, PodParser
from kobune.host.autoscaling import PRIORITIES, DaemonSet, Simulation, daemon_of, read_priorities

T = TypeVar("T", bound=Object)

log = logging.getLogger(__name__)

LIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed"


class ClusterMirror:
    """The cluster as its watches tell it. `run` keeps it; `look` gives it."""

    def __init__(self, client: Client, *, clock: Clock, rng: random.Random) -> None:
        self._client, self._clock, self._rng = client, clock, rng
        self._table, self._parser = NodeTable(), PodParser()
        self._listers = Listers()
        self._pending: dict[Key, PodInfo] = {}
        self._daemons: dict[Key, Json] = {}
        self._budgets: Mapping[Key, PodDisruptionBudget] = {}
        self._priorities: dict[int, list[str]] = {}
        self._synced = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        nodes, pods = self._watch(Node), self._watch(Pod, fields=LIVE_PODS)
        daemons, budgets = self._watch(DaemonSet), self._watch(PodDisruptionBudget)
        priorities = self._watch(ConfigMap, namespace=PRIORITIES.namespace, fields=f"metadata.name={PRIORITIES.name}")
        others = {name: self._watch(KINDS[name]) for name in await served_kinds(self._client)}
        nodes.on_change(self._node_changed)
        pods.on_change(self._pod_changed)
        daemons.on_change(self._daemons_changed)
        priorities.on_change(self._priorities_changed)
        self._budgets = budgets.items
        for name, informer in others.items():
            setattr(self._listers, name, informer.items)
        every: list[Informer[Any]] = [*others.values(), nodes, pods, daemons, budgets, priorities]
        async with asyncio.TaskGroup() as tasks:
            for informer in every:
                tasks.create_task(informer.run(), name=f"autoscaler: watch {informer.resource.plural}")
            for informer in every:
                await informer.synced()
            self._synced.set()

    async def look(self) -> Simulation:
        """The cluster as it is now, once everything has been seen; what is tried on it stays in this one answer."""
        await self._synced.wait()
        seen = Observation(self._table.copy(), self._listers, Nominations(), dict(self._pending), [])
        return Simulation(
            seen,
            daemons=list(self._daemons.values()),
            budgets=list(self._budgets.values()),
            priorities=self._priorities,
            rng=self._rng,
        )

    def _watch(self, view: type[T], *, namespace: str = "", fields: str = "") -> Informer[T]:
        return Informer(self._client, view, namespace=namespace, fields=fields, clock=self._clock, rng=self._rng)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None:
            self._table.put_node(new)
        elif old is not None:
            self._table.remove_node(old.name)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None:
            self._pending.pop(old.key, None)
            if old.spec.node_name:
                self._table.remove_pod(old.metadata.uid, old.spec.node_name)
        if new is None:
            return
        try:
            info = self._parser.parse(new)
        except (ApiError, ValueError) as error:
            log.error("pod cannot be read", extra={"pod": str(new.key), "failure": str(error)})
            return
        if new.spec.node_name:
            self._table.add_pod(info, new.spec.node_name)
        else:
            self._pending[new.key] = info

    def _daemons_changed(self, old: DaemonSet | None, new: DaemonSet | None) -> None:
        if new is not None:
            self._daemons[new.key] = daemon_of(new)
        elif old is not None:
            self._daemons.pop(old.key, None)

    def _priorities_changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        self._priorities = read_priorities((new.data or {}).get("priorities", "")) if new is not None else {}
