"""The steps by which a cluster's machines change, and what each makes of what is remembered."""

from dataclasses import dataclass, replace

from kobune.aks.instances import After, Instance, Instances, MachineState, OperationState, with_new


@dataclass(frozen=True, slots=True)
class Create:
    machine: Instance


@dataclass(frozen=True, slots=True)
class Settle:
    """It is a Ready node."""

    name: str


@dataclass(frozen=True, slots=True)
class Drain:
    name: str
    then: After


@dataclass(frozen=True, slots=True)
class TakeDown:
    """Its pods are gone, or need not be waited for."""

    name: str
    then: After


@dataclass(frozen=True, slots=True)
class Forget:
    name: str


@dataclass(frozen=True, slots=True)
class Renew:
    """It is made anew and joins under its old name."""

    name: str
    kubernetes_version: str
    image_version: str


@dataclass(frozen=True, slots=True)
class Park:
    """It is down, and stays so."""

    name: str


@dataclass(frozen=True, slots=True)
class Release:
    """It is not drained any longer and takes pods again."""

    name: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """It could not be drained; it keeps its pods and takes no more."""

    name: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """A surge node stays, in the place of a quarantined one."""

    name: str


@dataclass(frozen=True, slots=True)
class Relabel:
    """The pool's labels and taints have changed."""

    name: str
    labels: dict[str, str]
    taints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It did not become a node in time."""

    name: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The operation will end Failed; what it began is brought to rest first."""

    code: str
    message: str


Step = (
    Create | Settle | Drain | TakeDown | Forget | Renew | Park | Release | Quarantine | Adopt | Relabel | GiveUp | Fail
)


def take(step: Step, instances: Instances, now: float) -> Instances:
    """What is remembered once the step is taken; `now` in seconds since 1970."""
    match step:
        case Create(machine):
            return with_new(instances, [machine])
        case Fail(code, message):
            operation = instances.operation
            if operation is None or operation.state is not OperationState.IN_PROGRESS or operation.code:
                return instances  # It has ended, or the first failure was said.
            return replace(instances, operation=replace(operation, code=code, message=message))
        case Forget(name):
            return replace(instances, machines=tuple(each for each in instances.machines if each.name != name))
        case Release(name):
            return _release(instances, name, now)
        case _:
            changed = tuple(
                _changed(step, machine, now) if machine.name == step.name else machine for machine in instances.machines
            )
            return replace(instances, machines=changed)


def _changed(step: Step, machine: Instance, now: float) -> Instance:
    match step:
        case Settle():
            return replace(machine.entering(MachineState.RUNNING, now), then=None)
        case Drain(_, then):
            return replace(machine.entering(MachineState.DRAINING, now), then=then)
        case TakeDown(_, then):
            return replace(machine.entering(MachineState.DELETING, now), then=then)
        case Renew(_, version, image):
            new = replace(machine, kubernetes_version=version, image_version=image, born=now, quarantined=False)
            # A renewed machine counts as being upgraded until it is Ready.
            return replace(new.entering(MachineState.CREATING, now), then=After.REIMAGED)
        case Park():
            return replace(machine.entering(MachineState.STOPPED, now), then=None)
        case Quarantine():
            return replace(machine.entering(MachineState.RUNNING, now), then=None, quarantined=True)
        case Adopt():
            return replace(machine, surge=False)
        case Relabel(_, labels, taints):
            return replace(machine, labels=labels, taints=taints)
        case GiveUp():
            return replace(machine.entering(MachineState.FAILED, now), then=None)
        case _:
            raise TypeError(f"{step} is not about one machine")


def _release(instances: Instances, name: str, now: float) -> Instances:
    """It is as if nobody had wanted it gone; the autoscaler, if it did, has to think again."""
    targets, machines = instances.targets, []
    for machine in instances.machines:
        if machine.name == name:
            if machine.unwanted and machine.pool in targets:
                targets = targets | {machine.pool: targets[machine.pool] + 1}
            machine = replace(machine.entering(MachineState.RUNNING, now), then=None, unwanted=False)
        machines.append(machine)
    return replace(instances, machines=tuple(machines), targets=targets)
