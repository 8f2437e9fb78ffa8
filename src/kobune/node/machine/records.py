"""Where machines are written down while they have anything of the host: looked at without what a machine needs."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

RUN_FOLDER = Path("/run/kobune")  # One folder for each machine.
LOCK = Path("/run/kobune.lock")
RECORD = "machine.json"  # In that folder: what the machine is, and which process made it.


def find_records() -> Sequence[Path]:
    """The records of every machine of this host, whoever made it."""
    return sorted(RUN_FOLDER.glob(f"*/{RECORD}"))


@contextmanager
def hold(*, alone: bool) -> Iterator[None]:
    """For the block no machine is made while another is taken back, and no two are taken back. Blocks.

    Args:
        alone: to take one back; machines are made side by side.
    """
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
