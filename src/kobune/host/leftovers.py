"""What clusters left on this machine that were killed with their service and everything else."""

import logging
from pathlib import Path

from kobune.host.layout import ClusterLayout, Layout
from kobune.host.service import is_served
from kobune.node.machine.records import find_records

log = logging.getLogger(__name__)


def sweep() -> None:
    """Take back what nobody uses and nobody looks after; a cluster that is started again makes it anew. Blocks."""
    if not find_records():
        return
    # Late: they bring the runtime's client along.
    from kobune.host.machines import host_table
    from kobune.node import nft
    from kobune.node.machine.abandoned import find_abandoned, let_go
    from kobune.node.machine.mounts import unmount_below

    for machine in find_abandoned():
        cluster = cluster_of(machine.layout.state)
        if cluster is None or is_served(Layout(cluster.root.parents[1])):
            continue
        try:
            if not let_go(machine):
                continue
            unmount_below(cluster.node(machine.spec.node))
            nft.remove(host_table(cluster), None)
        except (OSError, nft.NftablesFailure) as failure:
            log.warning("leftovers stay", extra={"node": machine.spec.node, "failure": str(failure)})
        else:
            log.info("leftovers removed", extra={"cluster": cluster.name, "node": machine.spec.node})


def cluster_of(machine: Path) -> ClusterLayout | None:
    """Whose the machine in this folder is; None where it is no cluster's of a state directory."""
    if len(machine.parents) < 5:
        return None
    cluster = Layout(machine.parents[4]).cluster(machine.parents[2].name)
    return cluster if cluster.node(machine.parent.name) == machine.parent else None
