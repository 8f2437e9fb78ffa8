"""Thousands of simulated nodes in one event loop: they register, stay alive, and run pods without containers."""

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Conflict, Invalid, Json, NotFound
from kobune.api.objects.meta import Key
from kobune.client.client import Client, Patch
from kobune.client.informer import Informer
from kobune.node.simulator import nodes
from kobune.node.simulator.life import Life, read_life
from kobune.node.simulator.nodes import SimNode
from kobune.node.simulator.plan import Act, plan
from kobune.node.simulator.status import pod_status
from kobune.node.simulator.views import SimPod

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


@dataclass(slots=True)
class _Run:
    """What the simulator knows of a pod beyond its object."""

    uid: str
    life: Life
    seen: datetime
    ready: bool = False
    ended: datetime | None = None
    busy: bool = False  # Waits for a worker, or one is at it.
    again: bool = False  # Changed meanwhile.
    timer: asyncio.TimerHandle | None = None


class Simulator:
    """The kubelets of all simulated nodes.

    Args:
        manifests: Node objects, as `nodes.register` takes them.
        endpoint: HOST:PORT of a `server.serve` that answers for these nodes; "" is none.
        rng: spreads the heartbeats.
    """

    def __init__(
        self, client: Client, manifests: Iterable[Json], *, clock: Clock, rng: random.Random, endpoint: str = ""
    ) -> None:
        self.nodes: dict[str, SimNode] = {}
        self._client = client
        self._manifests = manifests
        self._clock = clock
        self._rng = rng
        self.endpoint = endpoint
        # Unbound pods are the scheduler's affair: half the events never come here.
        self.pods = Informer(client, SimPod, fields="spec.nodeName!=", clock=clock, rng=rng)
        self._runs: dict[Key, _Run] = {}
        self._due: asyncio.Queue[Key] = asyncio.Queue()  # Bounded by the number of pods: each is in it once.
        self._registered = asyncio.Event()

    async def run(self) -> None:
        """Simulate until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._live(), name="register nodes")
            tasks.create_task(self.pods.run(), name="watch pods")
            self.pods.on_change(self._changed)
            for number in range(nodes.AT_ONCE):
                tasks.create_task(self._work(), name=f"pods {number}")

    async def registered(self) -> None:
        """Return once every node is there and Ready."""
        await self._registered.wait()

    def add(self, node: SimNode) -> None:
        """Play this registered node's kubelet from now on."""
        self.nodes[node.name] = node
        if self.pods.has_synced:
            for key, pod in self.pods.items.items():
                if pod.spec.node_name == node.name:
                    self._changed_at(key, pod)

    async def join(self, manifests: Sequence[Json]) -> None:
        """Play these nodes' kubelets too; returns when all are there. Those of the constructor come first."""
        await self._registered.wait()
        await self._register(manifests)

    def leave(self, names: Iterable[str]) -> None:
        """Play these nodes' kubelets no more; their objects are somebody else's affair."""
        gone = {name for name in names if self.nodes.pop(name, None) is not None}
        if not gone:
            return
        for key, pod in self.pods.items.items():
            if pod.spec.node_name in gone:
                self._forget(key)

    def life_of(self, key: Key) -> Life | None:
        """The life of a pod on one of these nodes."""
        run = self._runs.get(key)
        return run.life if run else None

    async def _live(self) -> None:
        await self._register(self._manifests)
        self._registered.set()
        await nodes.keep_alive(self._client, self.nodes, self._clock, self._rng)

    async def _register(self, manifests: Iterable[Json]) -> None:
        while True:
            try:
                await nodes.register(self._client, manifests, self._clock, endpoint=self.endpoint, joined=self.add)
                break
            except* ApiError as failures:
                log.warning("simulated nodes could not register", extra={"failure": str(failures.exceptions[0])})
            await self._clock.sleep(RETRY_SECONDS)
        log.info("simulated nodes registered", extra={"nodes": len(self.nodes)})

    def _changed(self, old: SimPod | None, new: SimPod | None) -> None:
        if new is not None:
            if new.spec.node_name in self.nodes:
                self._changed_at(new.key, new)
        elif old is not None:
            node = self.nodes.get(old.spec.node_name)
            if node is not None:
                node.release(old.key)
                self._forget(old.key)

    def _forget(self, key: Key) -> None:
        run = self._runs.pop(key, None)
        if run is not None and run.timer is not None:
            run.timer.cancel()

    def _changed_at(self, key: Key, pod: SimPod) -> None:
        run = self._runs.get(key)
        if run is None or run.uid != pod.uid:
            if run is not None and run.timer is not None:
                run.timer.cancel()
            statuses = pod.status.container_statuses
            run = _Run(pod.uid, read_life(pod.metadata.annotations), self._clock.now())
            run.ready = bool(statuses) and all(status.ready for status in statuses)
            self._runs[key] = run
            if pod.status.pod_ip:
                self.nodes[pod.spec.node_name].keep_address(key, pod.status.pod_ip)
        self._wake(key, run)

    def _wake(self, key: Key, run: _Run) -> None:
        if run.timer is not None:
            run.timer.cancel()
            run.timer = None
        if run.busy:
            run.again = True
        else:
            run.busy = True
            self._due.put_nowait(key)

    async def _work(self) -> None:
        while True:
            key = await self._due.get()
            run = self._runs.get(key)
            if run is None:
                continue
            run.again = False
            wait = await self._step(key, run)
            run.busy = False
            if self._runs.get(key) is not run:
                continue
            if run.again:
                self._wake(key, run)
            elif wait is not None:
                # Both clocks that exist follow the loop's time.
                run.timer = asyncio.get_running_loop().call_later(wait, self._wake, key, run)

    async def _step(self, key: Key, run: _Run) -> float | None:
        """Do what is next about one pod; how many seconds later to look again, None when its next change will tell."""
        pod = self.pods.get(key)
        if pod is None or pod.uid != run.uid:
            return None
        now = self._clock.now()
        act, wait = plan(pod, run.life, now, seen=run.seen, ready=run.ready, ended=run.ended)
        if act is Act.NOTHING:
            return wait
        try:
            if act is Act.REMOVE:
                await self._client.delete(SimPod, key, uid=run.uid, grace_seconds=0)
                return None
            await self._report(pod, key, run, act, now)
        except (NotFound, Conflict):
            return None  # It is gone, or another pod has its name: the watch will say.
        except Invalid as refusal:
            log.warning("a simulated pod's status was refused", extra={"pod": str(key), "failure": str(refusal)})
            return None
        except ApiError as failure:
            log.info("a simulated pod waits for the API server", extra={"pod": str(key), "failure": str(failure)})
            return RETRY_SECONDS
        return None

    async def _report(self, pod: SimPod, key: Key, run: _Run, act: Act, now: datetime) -> None:
        node = self.nodes[pod.spec.node_name]
        ready = act is Act.READY or (act in (Act.RUN, Act.RESTART) and run.life.ready_after == 0)
        pod_ip = node.address if pod.spec.host_network else node.address_for(key)
        status = pod_status(pod, act, run.life, now, host_ip=node.address, pod_ip=pod_ip, ready=ready)
        # The uid keeps the status from a new pod of the same name. Whoever deletes a pod may have said why in a condition.
        how = Patch.STRATEGIC if act is Act.KILL else Patch.MERGE
        patch = {"metadata": {"uid": run.uid}, "status": status}
        await self._client.change(SimPod, key, patch, how=how, subresource="status")
        run.ready = ready
        run.ended = now if act is Act.CRASH else None
