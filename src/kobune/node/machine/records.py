"""Where machines are written down while they have anything of the host: looked at without what a machine needs."""

from collections.abc import Sequence
from pathlib import Path

RUN_FOLDER = Path("/run/kobune")  # One folder for each machine.
RECORD = "machine.json"  # In that folder: what the machine is, and which process made it.


def find_records() -> Sequence[Path]:
    """The records of every machine of this host, whoever made it."""
    return sorted(RUN_FOLDER.glob(f"*/{RECORD}"))
