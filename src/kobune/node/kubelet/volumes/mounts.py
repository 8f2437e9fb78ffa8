"""mount(2) and umount(2) without a process for each."""

import ctypes
import os
from pathlib import Path
from typing import Protocol

MS_BIND, MS_NOSUID, MS_NODEV, MS_REC = 4096, 2, 4, 16384
MNT_DETACH = 2


class Mounter(Protocol):
    """Changes the mount table, or does without where that is not possible."""

    def tmpfs(self, path: Path, *, size_bytes: int = 0, mode: int = 0o777) -> None:
        """Files below `path` live in memory. Nothing to do when already so."""

    def bind(self, source: str, target: Path) -> bool:
        """`target` shows what `source` is; False when binding is not possible here."""

    def unmount(self, path: Path) -> None:
        """Nothing to do when nothing is mounted there."""


class KernelMounter:
    """The kernel's mount table, as root."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def tmpfs(self, path: Path, *, size_bytes: int = 0, mode: int = 0o777) -> None:
        if os.path.ismount(path):
            return
        options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
        self._mount(b"tmpfs", path, b"tmpfs", MS_NOSUID | MS_NODEV, options.encode())

    def bind(self, source: str, target: Path) -> bool:
        self._mount(source.encode(), target, None, MS_BIND | MS_REC, None)
        return True

    def unmount(self, path: Path) -> None:
        # Whatever still holds files there must not keep the pod from ending. EINVAL: nothing is mounted there.
        self._libc.umount2(os.fsencode(path), MNT_DETACH)

    def _mount(self, source: bytes, target: Path, kind: bytes | None, flags: int, data: bytes | None) -> None:
        if self._libc.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), data):
            number = ctypes.get_errno()
            raise OSError(number, f"mount {target}: {os.strerror(number)}")


class PlainMounter:
    """Plain directories instead of mounts, for kubelets that are not root."""

    def tmpfs(self, path: Path, *, size_bytes: int = 0, mode: int = 0o777) -> None:
        path.chmod(mode)

    def bind(self, source: str, target: Path) -> bool:
        return False

    def unmount(self, path: Path) -> None:
        return
