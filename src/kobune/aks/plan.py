"""What is to be done next, so that a cluster's machines become what was asked for. Pure: the service does it and asks again.

Sources: AKS's pages on rolling upgrades, on scaling node pools and on deleting machines.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.instances import (
    After,
    Instance,
    Instances,
    MachineState,
    OperationState,
    new_instances,
    pool_labels,
    pool_taints,
    target_image,
    target_version,
    wanted_count,
    with_new,
)
from kobune.aks.steps import (
    Adopt,
    Create,
    Drain,
    Fail,
    Forget,
    GiveUp,
    Park,
    Quarantine,
    Relabel,
    Release,
    Renew,
    Settle,
    Step,
    TakeDown,
)

JOIN_SECONDS = 900.0  # A machine that is no Ready node by then has failed. Source: AKS, provisioning of an extension.
UPGRADES = ("upgrade", "node-image")  # These operations bring the newest image too.


@dataclass(frozen=True, slots=True)
class Seen:
    """One machine as its cluster and the machine under us report it.

    Attributes:
        blocked: what keeps a pod from being evicted, in the API server's words.
        is_down: its node is deleted and nothing of it runs any more.
    """

    ready: bool = False
    pods_left: int = 0  # On a draining node: those that must go.
    blocked: str = ""
    is_down: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted, and by which operation."""

    cluster: Cluster
    kind: str = "update"  # Of the wish.
    control_plane: str = ""  # The version that answers.
    room: int = 0  # How many more real nodes the machine under us carries.


def plan(goal: Goal, instances: Instances, seen: Mapping[str, Seen], now: float) -> list[Step]:
    """The steps to take at once; none means that nothing can be done now.

    Taking them, and calling again whenever something changed, ends with `is_at_rest`. Steps that remove or replace nodes
    are no longer begun once the operation has failed or was aborted; only what the autoscaler wants goes on.

    Args:
        instances: as remembered; `pools` of it are those last asked for, deleted ones with machines left included.
        seen: by machine name; a machine that is not there has no node yet and is not down.
        now: seconds since 1970.
    """
    pools = {pool.name: pool for pool in goal.cluster.pools}
    steps: list[Step] = []
    draft = instances
    room = goal.room
    upgrading = False
    for name, pool in (instances.pools | pools).items():
        part = _Pool(goal, pool, instances, seen, now, deleted=name not in pools, may_upgrade=not upgrading)
        steps += part.progress()
        for new in part.changes():
            if isinstance(new, _New):
                made = new_instances(goal.cluster, pool, new.count, draft, now=now, room=room, surge=new.surge)
                room -= sum(not machine.simulated for machine in made)
                draft = with_new(draft, made)
                steps += [Create(machine) for machine in made]
            else:
                steps.append(new)
        upgrading = upgrading or part.is_upgrading
    return steps


def is_at_rest(goal: Goal, instances: Instances, now: float) -> bool:
    """Whether every machine is where it stays, and none waits for another's soak to be over; with an empty plan the
    operation has then ended."""
    if goal.control_plane != goal.cluster.kubernetes_version:
        return False
    stays = (MachineState.RUNNING, MachineState.STOPPED, MachineState.FAILED)
    if any(machine.state not in stays for machine in instances.machines):
        return False
    pools = (_Pool(goal, pool, instances, {}, now, deleted=False, may_upgrade=True) for pool in goal.cluster.pools)
    return not any(pool.waits_for_soak for pool in pools)


def is_blocked(goal: Goal, instances: Instances) -> bool:
    """Whether the operation goes no further: it has failed or was aborted, or will end so."""
    operation = instances.operation
    ended_badly = (OperationState.FAILED, OperationState.CANCELED)
    return goal.kind == "abort" or (operation is not None and (bool(operation.code) or operation.state in ended_badly))


def surge_nodes(pool: NodePool, count: int) -> int:
    """How many nodes above its count an upgrade of the pool adds. "33%" of 4 is 2."""
    return _amount(pool.upgrade.max_surge, count)


@dataclass(frozen=True, slots=True)
class _New:
    count: int
    surge: bool = False


@dataclass(slots=True)
class _Pool:
    goal: Goal
    pool: NodePool
    instances: Instances
    seen: Mapping[str, Seen]
    now: float
    deleted: bool
    may_upgrade: bool
    is_upgrading: bool = False
    machines: list[Instance] = field(init=False)

    def __post_init__(self) -> None:
        self.machines = self.instances.of(self.pool.name)

    @property
    def count(self) -> int:
        return 0 if self.deleted else wanted_count(self.pool, self.instances.targets)

    @property
    def blocked(self) -> bool:
        return is_blocked(self.goal, self.instances)

    def at(self, name: str) -> Seen:
        return self.seen.get(name, Seen())

    def progress(self) -> Iterator[Step]:
        """How machines on their way come on."""
        for machine in self.machines:
            state = machine.state
            if state is MachineState.CREATING:
                if self.at(machine.name).ready:
                    yield Settle(machine.name)
                elif self.now - machine.since > JOIN_SECONDS:
                    yield GiveUp(machine.name)
                    yield Fail(
                        "VMExtensionProvisioningTimeout",
                        f"Node {machine.name!r} did not become Ready within {JOIN_SECONDS / 60:.0f} minutes.",
                    )
            elif state is MachineState.DRAINING:
                yield from self._drained(machine)
            elif state is MachineState.DELETING and self.at(machine.name).is_down:
                yield self._after(machine)

    def _drained(self, machine: Instance) -> Iterator[Step]:
        then = machine.then or After.GONE
        found = self.at(machine.name)
        if self.blocked and then is After.REIMAGED:
            yield Release(machine.name)
        elif not found.pods_left:
            yield TakeDown(machine.name, then)
        elif self.now - machine.since > self.pool.upgrade.drain_timeout_minutes * 60:
            if machine.surge:
                yield TakeDown(machine.name, then)  # It was never part of the pool.
            elif then is After.REIMAGED and self.pool.upgrade.undrainable == "Cordon":
                yield Quarantine(machine.name)
            else:
                yield Release(machine.name)
                yield Fail(*_drain_failure(machine, found, self.pool.upgrade.drain_timeout_minutes))

    def _after(self, machine: Instance) -> Step:
        if machine.then is After.REIMAGED and not self.deleted:
            version, image = target_version(self.goal.cluster, self.pool), target_image(self.goal.cluster, self.pool)
            return Renew(machine.name, version, image)
        if machine.then is After.STOPPED and not self.deleted:
            return Park(machine.name)
        return Forget(machine.name)

    def changes(self) -> Iterator[Step | _New]:
        """What the pool has too few or too many of, and what of it is out of date."""
        if not self.pool.running and not self.deleted:
            for machine in self.machines:
                if machine.state is MachineState.RUNNING:
                    yield self._drain(machine, After.STOPPED)
                elif machine.state is MachineState.CREATING:
                    yield TakeDown(machine.name, After.STOPPED)
            return
        yield from self._relabelled()
        stopped = [machine for machine in self.machines if machine.state is MachineState.STOPPED]
        for machine in stopped:
            if self.deleted:
                yield TakeDown(machine.name, After.GONE)
            elif not self.blocked:
                yield Renew(machine.name, machine.kubernetes_version, machine.image_version)
        leaving = list(self._unwanted())
        for machine in leaving:
            yield TakeDown(machine.name, After.GONE) if self._is_evicted(machine) else self._drain(machine, After.GONE)
        gone = {machine.name for machine in leaving}
        ordinary = [
            machine
            for machine in self.machines
            if not machine.surge and not machine.quarantined and machine.name not in gone and _stays(machine)
        ]
        surplus = len(ordinary) - self.count
        if surplus > 0 and self._may_scale:
            for machine in _victims(ordinary, surplus, self.seen):
                yield self._drain(machine, After.GONE)
        elif surplus < 0 and self._may_scale and self._has_version:
            yield _New(-surplus)
        if surplus <= 0 or not self._may_scale:
            yield from self._upgrade(ordinary, [each for each in self.machines if each.surge and each.name not in gone])

    @property
    def _may_scale(self) -> bool:
        return not self.blocked or self.pool.autoscaling

    @property
    def _has_version(self) -> bool:
        """Whether the control plane is as new as the pool's nodes will be: they never run ahead of it."""
        version = self.goal.control_plane or self.goal.cluster.kubernetes_version
        return _numbers(target_version(self.goal.cluster, self.pool)) <= _numbers(version)

    def _relabelled(self) -> Iterator[Step]:
        labels, taints = pool_labels(self.pool), pool_taints(self.pool)
        for machine in self.machines:
            if machine.state is MachineState.RUNNING and (machine.labels, machine.taints) != (labels, taints):
                yield Relabel(machine.name, labels, taints)

    def _unwanted(self) -> Iterator[Instance]:
        for machine in self.machines:
            if machine.state not in (MachineState.RUNNING, MachineState.CREATING, MachineState.FAILED):
                continue
            asked = self.deleted or machine.name in self.pool.removed or machine.state is MachineState.FAILED
            if machine.unwanted or self._is_evicted(machine) or (asked and not self.blocked):
                yield machine

    def _is_evicted(self, machine: Instance) -> bool:
        return self.pool.spot and machine.name in self.pool.evicted

    def _drain(self, machine: Instance, then: After) -> Step:
        """Drain it; where that makes no sense, take it down at once."""
        is_lost = machine.state is not MachineState.RUNNING or not self.at(machine.name).ready
        return TakeDown(machine.name, then) if is_lost else Drain(machine.name, then)

    def _upgrade(self, ordinary: Sequence[Instance], surges: Sequence[Instance]) -> Iterator[Step | _New]:
        under_way = [machine for machine in ordinary if machine.then is After.REIMAGED]
        waiting = [machine for machine in ordinary if machine.then is None and self._is_outdated(machine)]
        self.is_upgrading = bool(under_way or waiting or surges)
        if self.blocked or self.deleted or not (waiting or under_way):
            quarantined = sum(machine.quarantined for machine in self.machines)
            for machine in surges:
                if machine.state is MachineState.RUNNING and not under_way:
                    if quarantined and len(ordinary) < self.count:
                        yield Adopt(machine.name)
                        ordinary = [*ordinary, machine]
                    else:
                        yield self._drain(machine, After.GONE)
            return
        if not self.may_upgrade or not self._has_version or not waiting:
            return
        if any(machine.state is not MachineState.RUNNING for machine in ordinary if machine.then is None):
            return  # The pool is first brought to its count.
        extra = min(surge_nodes(self.pool, self.count), len(waiting) + len(under_way))
        live = [machine for machine in surges if machine.state in (MachineState.CREATING, MachineState.RUNNING)]
        if len(live) < extra:
            yield _New(extra - len(live), surge=True)
            return
        ready = sum(machine.state is MachineState.RUNNING for machine in surges)
        at_once = ready if extra else max(1, _amount(self.pool.upgrade.max_unavailable, self.count))
        if extra and ready < min(extra, len(live)):
            return
        if any(self._is_soaking(machine) for machine in ordinary):
            return
        for machine in waiting[: max(0, at_once - len(under_way))]:
            yield self._drain(machine, After.REIMAGED)

    def _is_outdated(self, machine: Instance) -> bool:
        if machine.state is not MachineState.RUNNING or machine.quarantined:
            return False
        version, image = target_version(self.goal.cluster, self.pool), target_image(self.goal.cluster, self.pool)
        # Which image is the newest changes by itself: only who asks for it gets it.
        asked = bool(self.pool.image_version) or self.goal.kind in UPGRADES
        return machine.kubernetes_version != version or (asked and machine.image_version != image)

    @property
    def waits_for_soak(self) -> bool:
        """Whether the pool's upgrade goes on by itself once a new node has soaked for long enough."""
        if self.blocked or not self.pool.running or not any(self._is_soaking(machine) for machine in self.machines):
            return False
        return any(self._is_outdated(machine) for machine in self.machines)

    def _is_soaking(self, machine: Instance) -> bool:
        soak = self.pool.upgrade.node_soak_minutes * 60
        renewed = machine.state is MachineState.RUNNING and not self._is_outdated(machine)
        return renewed and self.now - machine.since < soak


def _stays(machine: Instance) -> bool:
    """Whether it is, or will again be, a node of the pool."""
    if machine.state in (MachineState.CREATING, MachineState.RUNNING):
        return True
    return machine.state in (MachineState.DRAINING, MachineState.DELETING) and machine.then is After.REIMAGED


def _victims(machines: Sequence[Instance], count: int, seen: Mapping[str, Seen]) -> list[Instance]:
    """Whom scaling in takes: those that are not Ready, then of the fullest zone the newest. Source: scale sets' default policy."""
    left, chosen = list(machines), []
    for _ in range(count):
        zones = [machine.zone for machine in left]

        def rank(machine: Instance, zones: list[str] = zones) -> tuple[bool, bool, int, int]:
            ready = machine.state is MachineState.RUNNING and seen.get(machine.name, Seen()).ready
            return machine.then is None, not ready, zones.count(machine.zone), machine.number

        victim = max(left, key=rank)
        if victim.then is not None:
            break  # All others are being renewed; the next look decides.
        left.remove(victim)
        chosen.append(victim)
    return chosen


def _drain_failure(machine: Instance, found: Seen, minutes: int) -> tuple[str, str]:
    why = found.blocked or f"{found.pods_left} pods did not end"
    code = "UpgradeFailed" if machine.then is After.REIMAGED else "PodDrainFailure"
    return code, (
        f"Drain node {machine.name} failed when evicting pods after {minutes} minutes: {why}. "
        "See http://aka.ms/aks/debugdrainfailures"
    )


def _amount(text: str, count: int) -> int:
    """ "3" or "10%" of the count, rounded up."""
    if text.endswith("%"):
        return -(-int(text[:-1]) * count // 100)
    return int(text or 0)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
