"""Operations: what begins with a wish, how far it has come, and how it ends."""

from dataclasses import replace

from kobune.aks.clusters import Cluster
from kobune.aks.instances import Instances, MachineState, OperationState, Outcome, wanted_count

AT_REST = (MachineState.RUNNING, MachineState.STOPPED)


def begin(instances: Instances, cluster: Cluster, wish: str, now: float) -> Instances:
    """What is remembered when this is asked for: the pools, and with a new wish a new operation and a new start.

    Args:
        wish: its id; empty: nobody waits for an outcome.
        now: seconds since 1970.
    """
    asked = {pool.name: pool for pool in cluster.pools}
    kept = {name: pool for name, pool in instances.pools.items() if name in asked or instances.of(name)}
    pools = kept | asked
    targets = {pool.name: wanted_count(pool, instances.targets) for pool in cluster.pools if pool.autoscaling}
    if pools != instances.pools or targets != instances.targets:
        instances = replace(instances, pools=pools, targets=targets)
    if not wish or (instances.operation is not None and instances.operation.id == wish):
        return instances
    # What could not be drained before is tried again.
    machines = tuple(
        replace(machine, quarantined=False) if machine.quarantined else machine for machine in instances.machines
    )
    operation = Outcome(wish, OperationState.IN_PROGRESS)
    return replace(instances, machines=machines, operation=operation, began=now)


def end(instances: Instances, kind: str) -> Outcome | None:
    """How the operation ends now that nothing is left to do; None when none is under way.

    Args:
        kind: of the wish; "abort" ends Canceled.
    """
    operation = instances.operation
    if operation is None or operation.state is not OperationState.IN_PROGRESS:
        return None
    if kind == "abort":
        return replace(operation, state=OperationState.CANCELED, code="", message="")
    if operation.code:
        return replace(operation, state=OperationState.FAILED)
    left = [machine.name for machine in instances.machines if machine.quarantined]
    if left:
        words = f"Nodes {', '.join(left)} could not be drained; they are cordoned and were not upgraded."
        return replace(operation, state=OperationState.FAILED, code="UpgradeFailed", message=words)
    return replace(operation, state=OperationState.SUCCEEDED, percent=100)


def percent(instances: Instances, cluster: Cluster) -> int:
    """How much of the way is behind, from 0 to 99: machines that need no more, of all there are or will be."""
    versions = {pool.name: pool.kubernetes_version or cluster.kubernetes_version for pool in cluster.pools}
    wanted = sum(wanted_count(pool, instances.targets) for pool in cluster.pools if pool.running)
    done = sum(
        machine.state in AT_REST and not machine.surge and machine.kubernetes_version == versions.get(machine.pool)
        for machine in instances.machines
    )
    total = max(wanted, len(instances.machines))
    return min(99, 100 * done // total) if total else 0
