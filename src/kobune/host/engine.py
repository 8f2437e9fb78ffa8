"""Makes the machines of one cluster what its spec asks for: takes the steps that `aks.plan` names, and remembers each first."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from kobune.aks.instances import After, Instance, Instances, MachineState, OperationState
from kobune.aks.nodes import parse_taint
from kobune.aks.operations import begin, end, percent
from kobune.aks.plan import UPGRADES, Goal, Seen, is_at_rest, plan
from kobune.aks.steps import Create, Drain, Quarantine, Relabel, Release, Settle, Step, TakeDown, take
from kobune.api.clock import Clock
from kobune.api.errors import ApiError, NotFound
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.host.access import ClusterAccess, Connect, connect
from kobune.host.autoscaler_wish import is_wanted, read_wish, take_wish
from kobune.host.drain import Left, cordon, drain, remove_node
from kobune.host.instances import LOOK_SECONDS, read_instances, shape_of, write_instances
from kobune.host.layout import ClusterLayout
from kobune.host.processes import find_running
from kobune.host.spec import NodeState, Spec

log = logging.getLogger(__name__)

# These have their effect in the cluster before they are remembered: then they cannot be lost.
FIRST_DONE = (Release, Quarantine, Relabel)
EVICT_SECONDS = 1.0  # Between two rounds of evictions on a node.
VERSION_SECONDS = 1.0  # Between two questions whether the API server is there, and which.
DRAINED_AT_ONCE = 16
SHORT_SECONDS = 0.05
RETRY_SECONDS = 1.0
SIMULATOR_SECONDS = 2 * LOOK_SECONDS  # By then the simulator has let go of the node.
QUARANTINED = "kubernetes.azure.com/upgrade-status"


class Engine:
    """One cluster's machines.

    Args:
        room: how many more real nodes the machine under us carries; asked when some are to be made.
    """

    def __init__(
        self,
        cluster: ClusterLayout,
        *,
        clock: Clock,
        rng: random.Random,
        room: Callable[[], int],
        open_client: Connect = connect,
    ) -> None:
        self.access = ClusterAccess(cluster, clock, rng, open_client)
        self.instances = read_instances(cluster)
        self._cluster = cluster
        self._clock = clock
        self._room = room
        self._left: dict[tuple[str, float], Left] = {}  # Of a drain that began at that moment.
        self._evicted: dict[tuple[str, float], float] = {}
        self._taking_down: dict[tuple[str, float], asyncio.Task[None]] = {}
        self._asked_version = -VERSION_SECONDS
        self._settled: object = None  # What was so when there was nothing to do.

    async def look(self, spec: Spec, tasks: asyncio.TaskGroup) -> bool:
        """Take what steps can be taken now, for a cluster that runs; whether other processes are wanted than before."""
        before = self.instances
        self.instances = begin(self.instances, spec.cluster, _wish(spec), self._now())
        if is_wanted(spec.cluster):
            self.instances = take_wish(self.instances, read_wish(self._cluster))
        await self._connect(spec, tasks)
        if self._settled == self._situation(spec):
            return False
        await self._drain()
        self._take_down(spec, tasks)
        acted = await self._act(spec)
        if (
            not acted
            and self.access.is_current
            and is_at_rest(self._goal(spec), self.instances, self._now())
            and self._joined(spec)
        ):
            self._end(spec)
            self._settled = self._situation(spec)
        self._remember(before)
        return acted

    def _situation(self, spec: Spec) -> object:
        """Everything that a look goes by, once machines are at rest; compared by identity where it is large."""
        current = self.access.is_current
        return _Same(spec), _Same(self.instances), current, self.access.version, self.access.changes, self._room() > 0

    @property
    def shown(self) -> object:
        """Changes when `states` may."""
        return _Same(self.instances), self.access.changes

    async def rest(self, spec: Spec) -> None:
        """The cluster is stopped, processes and all."""
        before = self.instances
        await self.access.close()
        for task in self._taking_down.values():
            task.cancel()
        self._taking_down.clear()
        self.instances = begin(self.instances, spec.cluster, _wish(spec), self._now())
        self._end(spec)
        self._remember(before)

    @property
    def is_busy(self) -> bool:
        """Whether an operation is under way."""
        operation = self.instances.operation
        return operation is not None and operation.state is OperationState.IN_PROGRESS

    def states(self, *, halted: bool) -> tuple[NodeState, ...]:
        """Every machine, as the status shows it; those of a stopped cluster are stopped."""
        return tuple(
            NodeState(
                name=machine.name,
                pool=machine.pool,
                number=machine.number,
                kubernetes_version=machine.kubernetes_version,
                image_version=machine.image_version,
                vm_size=machine.vm_size,
                zone=machine.zone,
                state=MachineState.STOPPED if halted else machine.state,
                ready=self._is_ready(machine),
                simulated=machine.simulated,
            )
            for machine in self.instances.machines
        )

    def _is_ready(self, machine: Instance) -> bool:
        node = self.access.node(machine.name)
        return node is not None and node.is_ready and not node.is_deleting

    def _remember(self, before: Instances) -> None:
        if self.instances != before:
            write_instances(self._cluster, self.instances)

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _goal(self, spec: Spec) -> Goal:
        kind = spec.wish.kind if spec.wish else "update"
        return Goal(spec.cluster, kind, self.access.version, self._room())

    async def _connect(self, spec: Spec, tasks: asyncio.TaskGroup) -> None:
        now = self._clock.monotonic()
        is_settled = self.access.is_current and self.access.version == spec.cluster.kubernetes_version
        # A new cluster's server comes up within a second: it is asked at every look.
        if not is_settled and (now - self._asked_version >= VERSION_SECONDS or self.access.client is None):
            self._asked_version = now
            await self.access.look(tasks)

    def _joined(self, spec: Spec) -> bool:
        """Whether, after a start, every node has been heard of again: what a stopped one last said still stands."""
        if spec.wish is None or spec.wish.kind not in ("create", "start"):
            return True
        running = [machine.name for machine in self.instances.machines if machine.state is MachineState.RUNNING]
        nodes = [self.access.node(name) for name in running]
        return all(node is not None and node.is_ready_since(self.instances.began) for node in nodes)

    def _end(self, spec: Spec) -> None:
        outcome = end(self.instances, spec.wish.kind if spec.wish else "")
        if outcome is not None:
            self.instances = replace(self.instances, operation=outcome)
            log.info("operation ended", extra={"cluster": self._cluster.name, "outcome": outcome.state.value})

    async def _act(self, spec: Spec) -> bool:
        """Take the steps of the hour, each remembered before anything is done about it; whether there were any."""
        steps: list[Step] = plan(self._goal(spec), self.instances, self._seen(), self._now())
        if not self.access.is_current:
            # What the cluster would say is not known; a new one gets its machines all the same.
            steps = [step for step in steps if isinstance(step, Create) and not self.instances.machines]
        taken = []
        for step in steps:
            if not isinstance(step, FIRST_DONE) or await self._do_first(step):
                self.instances = take(step, self.instances, self._now())
                taken.append(step)
                log.info("step", extra={"cluster": self._cluster.name, "step": str(step)})
        for step in taken:
            self._tell(step, spec)
        operation = self.instances.operation
        if operation is not None and operation.state is OperationState.IN_PROGRESS:
            done = replace(operation, percent=max(operation.percent, percent(self.instances, spec.cluster)))
            self.instances = replace(self.instances, operation=done)
        return bool(taken)

    def _seen(self) -> Mapping[str, Seen]:
        found: dict[str, Seen] = {}
        for machine in self.instances.machines:
            key = (machine.name, machine.since)
            # On a node whose drain was not looked at yet there is a pod left: whatever is there.
            left = self._left.get(key, Left(1, ""))
            task = self._taking_down.get(key)
            is_down = task is not None and task.done()
            found[machine.name] = Seen(self._is_ready(machine), left.pods, left.blocked, is_down)
        return found

    async def _do_first(self, step: Step) -> bool:
        """What must have happened in the cluster before it is remembered; whether it has. It may happen twice."""
        client = self.access.client
        if client is None:
            return False
        try:
            match step:
                case Release(name):
                    await cordon(client, name, on=False)
                case Quarantine(name):
                    await client.patch(Node, Key("", name), {"metadata": {"labels": {QUARANTINED: "Quarantined"}}})
                case Relabel(name, labels, taints):
                    await self._relabel(client, name, labels, taints)
        except NotFound:
            return True
        except ApiError as failure:
            log.warning("step waits", extra={"cluster": self._cluster.name, "failure": str(failure)})
            return False
        return True

    async def _relabel(self, client: Client, name: str, labels: Mapping[str, str], taints: tuple[str, ...]) -> None:
        """Give the node its pool's labels and taints; those that the pool had before go, those of others stay."""
        machine, node = self.instances.get(name), self.access.node(name)
        if machine is None or node is None:
            return
        gone = dict.fromkeys(label for label in machine.labels if label not in labels)
        before = [parse_taint(text) for text in machine.taints]
        others = [
            taint
            for taint in (msgspec.to_builtins(each) for each in node.spec.taints)
            if not any(taint["key"] == old["key"] and taint["effect"] == old["effect"] for old in before)
        ]
        patch = {
            "metadata": {"labels": {**labels, **gone}, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": [*others, *(parse_taint(text) for text in taints)]},
        }
        await client.patch(Node, Key("", name), patch)

    def _tell(self, step: Step, spec: Spec) -> None:
        """The events of a step, on its node."""
        match step:
            case Settle(name):
                machine = self.instances.get(name)
                if machine is not None and machine.surge:
                    words = f"Created a surge node [{name} {machine.pool}] for agentpool {machine.pool}"
                    self.access.event(name, "Surge", words)
                elif spec.wish is not None and spec.wish.kind in UPGRADES:
                    self.access.event(name, "Upgrade", f"Successfully upgraded node: [{name}]")
            case Drain(name):
                self.access.event(name, "Drain", f"Draining node: [{name}]")
            case TakeDown(name, then):
                machine = self.instances.get(name)
                if then is After.REIMAGED:
                    self.access.event(name, "Upgrade", f"Deleting node {name} from API server")
                elif machine is not None and machine.surge:
                    self.access.event(name, "Surge", f"Removing surge node: [{name}]")
            case Quarantine(name):
                self.access.event(name, "Upgrade", f"Node {name} could not be drained; it is quarantined", warning=True)

    async def _drain(self) -> None:
        """Cordon and evict on every draining node, now and then."""
        client, now = self.access.client, self._clock.monotonic()
        draining = [machine for machine in self.instances.machines if machine.state is MachineState.DRAINING]
        kept = {(machine.name, machine.since) for machine in draining}
        self._left = {key: left for key, left in self._left.items() if key in kept}
        self._evicted = {key: moment for key, moment in self._evicted.items() if key in kept}
        due = [
            machine
            for machine in draining
            if now - self._evicted.get((machine.name, machine.since), -EVICT_SECONDS) >= EVICT_SECONDS
        ]
        if client is None or not due:
            return
        async with asyncio.TaskGroup() as group:
            for machine in due[:DRAINED_AT_ONCE]:
                self._evicted[machine.name, machine.since] = now
                group.create_task(self._drain_one(client, machine), name=f"drain {machine.name}")

    async def _drain_one(self, client: Client, machine: Instance) -> None:
        try:
            await cordon(client, machine.name)
            self._left[machine.name, machine.since] = await drain(client, machine.name)
        except ApiError as failure:
            log.info(
                "drain waits", extra={"cluster": self._cluster.name, "node": machine.name, "failure": str(failure)}
            )

    def _take_down(self, spec: Spec, tasks: asyncio.TaskGroup) -> None:
        """Have every machine taken down that is to go, each by a task of its own."""
        deleting = {
            (machine.name, machine.since): machine
            for machine in self.instances.machines
            if machine.state is MachineState.DELETING
        }
        for key in [key for key in self._taking_down if key not in deleting]:
            del self._taking_down[key]
        for key, machine in deleting.items():
            if key not in self._taking_down:
                work = self._take_down_one(spec, machine)
                self._taking_down[key] = tasks.create_task(work, name=f"take down {machine.name}")

    async def _take_down_one(self, spec: Spec, machine: Instance) -> None:
        """Return when its node is deleted and nothing of it runs any more."""
        record = self._cluster.processes / f"{machine.name}.json"
        while find_running(record) is not None:  # The runner stops it. A kubelet that runs would register again.
            await self._clock.sleep(SHORT_SECONDS)
        if machine.simulated:
            await self._clock.sleep(SIMULATOR_SECONDS)
        while True:
            client = self.access.client
            try:
                if client is not None:
                    await remove_node(client, machine.name)
                    log.info("node deleted", extra={"cluster": self._cluster.name, "node": machine.name})
                    break
            except* ApiError as failures:
                log.info(
                    "node not deleted yet",
                    extra={"cluster": self._cluster.name, "node": machine.name, "failure": str(failures.exceptions[0])},
                )
            await self._clock.sleep(RETRY_SECONDS)
        if not machine.simulated:
            from kobune.host.machines import remove  # Late: brings the runtime's client along.

            shape = shape_of(spec, self.instances, machine)
            await remove(self._cluster, spec, shape, self._clock, keep_disk=machine.then is After.STOPPED)


class _Same:
    """Equal to another one of the very same object, which it keeps alive."""

    def __init__(self, what: object) -> None:
        self._what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._what is self._what

    __hash__ = None  # type: ignore[assignment]


def _wish(spec: Spec) -> str:
    return spec.wish.id if spec.wish else ""
