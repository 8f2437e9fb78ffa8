"""nft: transactions on the kernel's packet rules, all of them or nothing."""

import subprocess
from pathlib import Path

from kobune.node.netns import run_in

NFT_SECONDS = 60.0


class NftablesFailure(Exception):
    """nft refused a transaction, and nothing of it was applied."""


def apply(transaction: str, namespace: Path | None) -> None:
    """Run nft on a transaction, inside a network namespace (None: here). Blocks; raises NftablesFailure."""
    done = run(["nft", "-f", "-"], transaction, namespace)
    if done.returncode:
        raise NftablesFailure(done.stderr.strip())


def has_chain(table: str, chain: str, namespace: Path | None) -> bool:
    """Whether the chain is there. Blocks."""
    return run(["nft", "list", "chain", "ip", table, chain], "", namespace).returncode == 0


def remove(table: str, namespace: Path | None) -> None:
    """Delete the table; fine when there is none. Blocks."""
    apply(f"add table ip {table}\ndelete table ip {table}\n", namespace)


def run(command: list[str], text: str, namespace: Path | None) -> "subprocess.CompletedProcess[str]":
    """A program's outcome, run inside the namespace. Blocks."""
    return run_in(
        namespace,
        lambda: subprocess.run(command, input=text, capture_output=True, text=True, timeout=NFT_SECONDS),
    )
