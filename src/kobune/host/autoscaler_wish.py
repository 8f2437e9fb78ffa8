"""What a cluster's autoscaler wants of the service: the one writes it to a file, the other takes it."""

from dataclasses import dataclass, field, replace

import msgspec

from kobune.aks.clusters import Cluster
from kobune.aks.instances import Instances
from kobune.host.layout import ClusterLayout


@dataclass(frozen=True, slots=True)
class AutoscalerWish:
    """What the autoscaler wants of the service; a file.

    Attributes:
        number: one more with every wish; the service remembers the last one it has taken.
        targets: machines of each pool; those to be removed no longer count.
    """

    number: int = 0
    targets: dict[str, int] = field(default_factory=dict)
    unwanted: tuple[str, ...] = ()


def read_wish(layout: ClusterLayout) -> AutoscalerWish:
    """The autoscaler's last wish; number 0 before the first."""
    try:
        return msgspec.json.decode(layout.autoscaler.read_bytes(), type=AutoscalerWish)
    except FileNotFoundError:
        return AutoscalerWish()


def take_wish(instances: Instances, wish: AutoscalerWish) -> Instances:
    """What is remembered once the wish is the service's own; a wish that was taken before changes nothing."""
    if wish.number <= instances.autoscaler_wish:
        return instances
    machines = tuple(
        replace(machine, unwanted=True) if machine.name in wish.unwanted else machine for machine in instances.machines
    )
    targets = instances.targets | {name: count for name, count in wish.targets.items() if name in instances.targets}
    return replace(instances, machines=machines, targets=targets, autoscaler_wish=wish.number)


def is_wanted(cluster: Cluster) -> bool:
    """Whether the cluster has a pool that is left to the autoscaler."""
    return any(pool.autoscaling for pool in cluster.pools)
