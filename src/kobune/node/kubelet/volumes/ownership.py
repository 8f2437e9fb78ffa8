"""fsGroup: a volume's files become the group's to read and write."""

import os
import stat
from pathlib import Path

FILE_BITS, DIRECTORY_BITS = 0o660, stat.S_ISGID | 0o770  # Source: upstream SetVolumeOwnership.


def give_to_group(root: Path, group: int, *, only_when_needed: bool = False) -> None:
    """Change group and modes of everything below `root`; links are left alone.

    Args:
        only_when_needed: do nothing when the root itself already fits (fsGroupChangePolicy OnRootMismatch).
    """
    status = root.stat()
    if only_when_needed and status.st_gid == group and status.st_mode & DIRECTORY_BITS == DIRECTORY_BITS:
        return
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            _change(os.path.join(directory, name), group, FILE_BITS)
        _change(directory, group, DIRECTORY_BITS)


def _change(path: str, group: int, bits: int) -> None:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return
    os.chown(path, -1, group)
    os.chmod(path, stat.S_IMODE(status.st_mode) | bits)
