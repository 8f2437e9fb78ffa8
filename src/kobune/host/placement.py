"""Where on this machine a cluster goes: its API server's port, and its address ranges."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kobune.host.layout import Layout
from kobune.host.spec import gateway, read_spec

DEFAULT_PORT = 6443
PORTS_TRIED = 50  # From the default one on, when the user names none.
CLAIM_SECONDS = 60.0  # By then whoever chose a port listens on it, or never will.
SLOTS = 10  # Address ranges of clusters with real nodes on one machine.


def find_port(layout: Layout, now: float) -> int | None:
    """The first port that no cluster keeps for itself and nobody uses; None when there is none.

    It is claimed for the state directory: others that choose at the same moment, before anybody listens, choose another.

    Args:
        now: seconds since 1970.
    """
    kept = {spec.api_port for name in layout.cluster_names() if (spec := read_spec(layout.cluster(name)))}
    ports = (port for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED) if port not in kept and is_free(port))
    return _claimed("port", ports, layout, now)


def is_free(port: int) -> bool:
    """Whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def find_slot(layout: Layout, now: float) -> int | None:
    """The first address ranges that no cluster of this machine has; None when all are taken. They are claimed as a port is."""
    taken = {spec.slot for name in layout.cluster_names() if (spec := read_spec(layout.cluster(name)))}
    # Clusters of other state directories have their bridges on this machine too.
    slots = (slot for slot in range(SLOTS) if slot not in taken and not _is_ours(gateway(slot)))
    return _claimed("slot", slots, layout, now)


def _claimed(what: str, free: Iterable[int], layout: Layout, now: float) -> int | None:
    """The first that nobody else has claimed lately; where all are claimed, the first: not every claim comes to something."""
    seen = []
    with _claims() as claims:
        for number in free:
            if _claim(claims / f"{what}-{number}", layout, now):
                return number
            seen.append(number)
    return seen[0] if seen else None


@contextmanager
def _claims() -> Iterator[Path]:
    """The folder of this user's claims, which nobody else changes for the block."""
    folder = Path(tempfile.gettempdir()) / f"kobune-claims-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


def _claim(claim: Path, layout: Layout, now: float) -> bool:
    """Claim it unless another state directory has lately; one's own clusters' specs say what they have."""
    owner = str(layout.root.resolve())
    try:
        of, _, since = claim.read_text().rpartition(" ")
        if of != owner and 0 <= now - float(since) < CLAIM_SECONDS:
            return False
    except (FileNotFoundError, ValueError):
        pass  # Nobody's, or not written to its end.
    claim.write_text(f"{owner} {now}")
    return True


def _is_ours(address: str) -> bool:
    """Whether the machine has the address: only then can a socket be bound to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
