"""Files that change all at once: a dated directory, and a link to it that is replaced in one step.

Readers see the old set or the new one, never a mixture. Source: upstream pkg/volume/util/atomic_writer.go.
"""

import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

DATA, NEW_DATA = "..data", "..data_tmp"


class File(NamedTuple):
    content: bytes
    mode: int
    owner: int | None = None  # A uid.


def write_files(target: Path, files: Mapping[str, File], *, group: int | None, now: datetime) -> bool:
    """Make `target` hold exactly these files (paths relative to it); whether anything had to change.

    Args:
        group: fsGroup, which may then read the files.
        now: dates the directory.
    """
    current = target / DATA
    if current.is_symlink() and _matches(current, files, group):
        return False
    fresh = _dated(target, now)
    for path, file in files.items():
        at = fresh / path
        _make_directories(fresh, at.parent)
        descriptor = os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, file.content)
            if file.owner is not None or group is not None:
                os.fchown(descriptor, -1 if file.owner is None else file.owner, -1 if group is None else group)
            os.fchmod(descriptor, _mode(file, group))
        finally:
            os.close(descriptor)
    if group is not None:
        for directory in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
            os.chown(directory, -1, group)
    old = os.readlink(current) if current.is_symlink() else ""
    (target / NEW_DATA).unlink(missing_ok=True)
    os.symlink(fresh.name, target / NEW_DATA)
    os.rename(target / NEW_DATA, current)
    _link(target, {Path(path).parts[0] for path in files})
    if old:
        shutil.rmtree(target / old, ignore_errors=True)
    return True


def _make_directories(root: Path, path: Path) -> None:
    """Readable for whoever the containers run as, whatever our umask."""
    if path != root and not path.is_dir():
        _make_directories(root, path.parent)
        path.mkdir()
        path.chmod(0o755)


def _mode(file: File, group: int | None) -> int:
    return file.mode | 0o440 if group is not None else file.mode


def _dated(target: Path, now: datetime) -> Path:
    stem = f"..{now:%Y_%m_%d_%H_%M_%S}."
    number = now.microsecond * 1000
    while True:
        fresh = target / f"{stem}{number}"
        try:
            fresh.mkdir(mode=0o755)
        except FileExistsError:
            number += 1
            continue
        fresh.chmod(0o755)
        return fresh


def _link(target: Path, names: set[str]) -> None:
    for name in names:
        link = target / name
        if not link.is_symlink():
            os.symlink(f"{DATA}/{name}", link)
    for entry in os.listdir(target):
        if not entry.startswith("..") and entry not in names:
            (target / entry).unlink(missing_ok=True)


def _matches(current: Path, files: Mapping[str, File], group: int | None) -> bool:
    present = {str(path.relative_to(current)) for path in current.rglob("*") if path.is_file()}
    if present != {os.path.normpath(path) for path in files}:
        return False
    for path, file in files.items():
        at = current / path
        if at.read_bytes() != file.content or at.stat().st_mode & 0o777 != _mode(file, group):
            return False
    return True
