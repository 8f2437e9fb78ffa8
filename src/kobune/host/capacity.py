"""How many real nodes one machine carries; those beyond are simulated."""

import os

from kobune.node.machine.requirements import find_missing

MOST_REAL_NODES = 32  # Of all clusters on one machine; each has a container runtime of its own.
BYTES_OF_A_NODE = 512 * 1024 * 1024  # Its agent, its runtime, and a few small containers.
NODES_OF_A_CORE = 16


def most_real_nodes() -> int:
    """The rule: 512 MiB of the machine's memory and a sixteenth of a core for each, at most 32; none where containers cannot run."""
    if find_missing():
        return 0
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return real_nodes(memory_bytes=memory, cores=os.cpu_count() or 1)


def real_nodes(*, memory_bytes: int, cores: int) -> int:
    """How many real nodes fit into so much."""
    return min(memory_bytes // BYTES_OF_A_NODE, cores * NODES_OF_A_CORE, MOST_REAL_NODES)
