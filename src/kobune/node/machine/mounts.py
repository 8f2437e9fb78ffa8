"""Mounting and unmounting."""

import ctypes
import errno
import os
from pathlib import Path

MNT_DETACH = 2  # Source: sys/mount.h.
_libc = ctypes.CDLL(None, use_errno=True)


def mount_overlay(lower: Path, upper: Path, work: Path, target: Path) -> None:
    """Raises OSError where overlays are not possible."""
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    _check(_libc.mount(b"overlay", os.fsencode(target), b"overlay", 0, options.encode()), target)


def unmount(target: Path) -> None:
    """Lets go of the mount point at once, of the file system when its last user does. Fine when nothing is mounted."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) != 0 and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        _check(-1, target)


def unmount_below(folder: Path) -> None:
    """Unmount everything at and under `folder`, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # The kernel writes a space in a path as \040.
    targets = [Path(line.split()[4].replace("\\040", " ")) for line in lines]
    for target in reversed(targets):
        if target == folder or folder in target.parents:
            unmount(target)


def _check(result: int, target: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
