"""The machines that a cluster's pools have, one by one: the service's own memory, which no count tells."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.reservations import NodeOs
from kobune.aks.versions import get_version
from kobune.aks.vm_sizes import get_vm_size

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
NUMBERS = 36**6  # Scale sets count on in six base-36 digits, and begin again after them.


class MachineState(StrEnum):
    """Where a machine is in its life."""

    CREATING = "Creating"
    RUNNING = "Running"
    DRAINING = "Draining"  # Its pods are being evicted.
    DELETING = "Deleting"  # Its node leaves the cluster, and it is taken down.
    STOPPED = "Stopped"
    FAILED = "Failed"  # It did not become a node in time.


class After(StrEnum):
    """What follows when a machine has been drained and taken down."""

    GONE = "gone"
    REIMAGED = "reimaged"  # It comes back under its name, with the pool's present versions.
    STOPPED = "stopped"


class OperationState(StrEnum):
    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far the operation of a wish has come; an "abort" ends Canceled."""

    id: str  # The wish's.
    state: OperationState
    code: str = ""  # Of the failure: AKS's error code. Set while still in progress: it will end Failed.
    message: str = ""
    percent: int = 0


@dataclass(frozen=True, slots=True)
class Instance:
    """One machine of a pool."""

    name: str
    pool: str
    number: int  # In its scale set; not used again before all others were.
    index: int  # In its cluster: its address and its pods' follow from it; free again when the machine is gone.
    kubernetes_version: str
    image_version: str
    vm_size: str
    zone: str  # "1"; empty: none.
    simulated: bool  # The service plays its kubelet.
    state: MachineState
    since: float  # When it came into that state: seconds since 1970.
    born: float  # When it was last made, or made anew, out of an image.
    surge: bool = False  # Above the pool's count, for as long as an upgrade takes.
    then: After | None = None  # While it drains, is taken down, or comes back.
    unwanted: bool = False  # To be the next one deleted: the autoscaler, the user or Azure said so.
    quarantined: bool = False  # It could not be drained, and the upgrade went on without it.
    labels: dict[str, str] = field(default_factory=dict)  # Of the pool, as its node bears them.
    taints: tuple[str, ...] = ()  # Likewise.

    def entering(self, state: MachineState, now: float) -> "Instance":
        return replace(self, state=state, since=now)


@dataclass(frozen=True, slots=True)
class Instances:
    """All machines of a cluster.

    Attributes:
        pools: as last asked for, those too that are being deleted.
        next_numbers: of each pool's scale set.
        targets: the counts that the autoscaler wants of the pools left to it.
    """

    machines: tuple[Instance, ...] = ()
    pools: dict[str, NodePool] = field(default_factory=dict)
    next_numbers: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    operation: Outcome | None = None
    autoscaler_wish: int = 0  # The number of the autoscaler's last wish that was taken.
    began: float = 0.0  # The operation: seconds since 1970.

    def of(self, pool: str) -> list[Instance]:
        """A pool's machines in the order of their making."""
        return [machine for machine in self.machines if machine.pool == pool]

    def get(self, name: str) -> Instance | None:
        return next((machine for machine in self.machines if machine.name == name), None)


def target_version(cluster: Cluster, pool: NodePool) -> str:
    """The Kubernetes version that the pool's nodes should have."""
    return pool.kubernetes_version or cluster.kubernetes_version


def target_image(cluster: Cluster, pool: NodePool) -> str:
    """The node image that the pool's next node gets."""
    return pool.image_version or get_version(target_version(cluster, pool)).node_image


def wanted_count(pool: NodePool, targets: Mapping[str, int]) -> int:
    """How many nodes the pool should have: what the user said, or what the autoscaler made of it within its bounds."""
    if not pool.autoscaling:
        return pool.count
    return min(max(targets.get(pool.name, pool.count), pool.min_count), pool.max_count)


def pool_labels(pool: NodePool) -> dict[str, str]:
    """The labels of the pool's nodes that may change during their life."""
    return pool.labels | {"kubernetes.azure.com/mode": pool.mode.lower()}


def pool_taints(pool: NodePool) -> tuple[str, ...]:
    """The taints of the pool's nodes, AKS's own for spot machines among them."""
    spot = "kubernetes.azure.com/scalesetpriority=spot:NoSchedule"
    return pool.taints if not pool.spot or spot in pool.taints else (*pool.taints, spot)


def runs_containers(pool: NodePool) -> bool:
    """Whether the pool's nodes can be real on a Linux machine of the common kind, and are to be."""
    return not pool.simulated and pool.os is NodeOs.LINUX and get_vm_size(pool.vm_size).arch == "amd64"


def simulated_instead(cluster: Cluster, instances: Instances) -> int:
    """How many machines are simulated though their pools were to run containers: the machine under us carries no more."""
    real = {pool.name for pool in cluster.pools if runs_containers(pool)}
    return sum(machine.simulated and machine.pool in real for machine in instances.machines)


def new_instances(
    cluster: Cluster, pool: NodePool, count: int, known: Instances, *, now: float, room: int, surge: bool = False
) -> list[Instance]:
    """The next machines of a pool: unused numbers, free addresses, zones in turn.

    Args:
        room: how many more real nodes the machine under us carries; those beyond are simulated.
    """
    taken = {machine.index for machine in known.machines}
    free = (index for index in range(len(taken) + count) if index not in taken)
    zones = [machine.zone for machine in known.of(pool.name)]
    made: list[Instance] = []
    numbers = _numbers(pool.name, known)
    for index in _first(free, count):
        number = next(numbers)
        zone = min(pool.zones, key=zones.count) if pool.zones else ""
        zones.append(zone)
        is_real = runs_containers(pool) and room > 0
        room -= is_real
        made.append(
            Instance(
                name=node_name(cluster, pool, number),
                pool=pool.name,
                number=number,
                index=index,
                kubernetes_version=target_version(cluster, pool),
                image_version=target_image(cluster, pool),
                vm_size=pool.vm_size,
                zone=zone,
                simulated=not is_real,
                state=MachineState.CREATING,
                since=now,
                born=now,
                surge=surge,
                labels=pool_labels(pool),
                taints=pool_taints(pool),
            )
        )
    return made


def with_new(known: Instances, made: Sequence[Instance]) -> Instances:
    """These machines too."""
    numbers = known.next_numbers | {machine.pool: (machine.number + 1) % NUMBERS for machine in made}
    return replace(known, machines=(*known.machines, *made), next_numbers=numbers)


def first_instances(cluster: Cluster) -> list[Instance]:
    """The machines of a cluster that is new."""
    known = Instances()
    for pool in cluster.pools:
        known = with_new(known, new_instances(cluster, pool, pool.count, known, now=0.0, room=pool.count))
    return list(known.machines)


def node_name(cluster: Cluster, pool: NodePool, number: int) -> str:
    """`aks-nodepool1-12345678-vmss00000a`; on Windows `akspool00000a`."""
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = BASE36[digit] + digits
    return f"aks{pool.name}{digits}" if pool.os is NodeOs.WINDOWS else f"aks-{pool.name}-{cluster.suffix}-vmss{digits}"


def _numbers(pool: str, known: Instances) -> Iterator[int]:
    taken = {machine.number for machine in known.of(pool)}
    number = known.next_numbers.get(pool, 0)
    while True:
        if number not in taken:
            yield number
        number = (number + 1) % NUMBERS


def _first(numbers: Iterator[int], count: int) -> Iterator[int]:
    return (number for _, number in zip(range(count), numbers, strict=False))
