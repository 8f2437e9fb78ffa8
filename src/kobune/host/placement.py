"""Where on this machine a cluster goes: its API server's port, and its address ranges."""

import socket

from kobune.host.layout import Layout
from kobune.host.spec import gateway, read_spec

DEFAULT_PORT = 6443
PORTS_TRIED = 50  # From the default one on, when the user names none.
SLOTS = 10  # Address ranges of clusters with real nodes on one machine.


def find_port(layout: Layout) -> int | None:
    """The first port that no cluster keeps for itself and nobody uses; None when there is none."""
    kept = {spec.api_port for name in layout.cluster_names() if (spec := read_spec(layout.cluster(name)))}
    for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        if port not in kept and is_free(port):
            return port
    return None


def is_free(port: int) -> bool:
    """Whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def find_slot(layout: Layout) -> int | None:
    """The first address ranges that no cluster of this machine has; None when all are taken."""
    taken = {spec.slot for name in layout.cluster_names() if (spec := read_spec(layout.cluster(name)))}
    for slot in range(SLOTS):
        # Clusters of other state directories have their bridges on this machine too.
        if slot not in taken and not _is_ours(gateway(slot)):
            return slot
    return None


def _is_ours(address: str) -> bool:
    """Whether the machine has the address: only then can a socket be bound to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
