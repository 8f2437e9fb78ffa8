"""subPath: a part of a volume that cannot lead out of it, whatever links the volume holds."""

import os
import stat
from pathlib import Path

from kobune.node.kubelet.volumes.mounts import Mounter
from kobune.node.kubelet.volumes.volume import VolumeProblem


def prepare_subpath(volume: Path, sub_path: str, target: Path, mounter: Mounter) -> Path:
    """A host path for `sub_path` inside `volume`, made as a directory when missing.

    The opened file itself is bound at `target`, so that a link swapped in later is not followed. Without the right to
    bind, the checked path is given as it is.

    Raises:
        VolumeProblem: the path leads outside, or cannot be made.
    """
    if os.path.isabs(sub_path) or ".." in Path(sub_path).parts:
        raise VolumeProblem(f"failed to prepare subPath: subPath {sub_path!r} must stay within the volume")
    root = Path(os.path.realpath(volume))
    wanted = root / sub_path
    try:
        if not wanted.exists():
            _inside(root, next(parent for parent in wanted.parents if parent.exists()))
            _make(root, wanted, stat.S_IMODE(root.stat().st_mode))
        real = _inside(root, wanted)
        descriptor = os.open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise VolumeProblem(f"failed to prepare subPath for volumeMount: {error}") from error
    try:
        # Between the check and the opening the path may have changed; the descriptor tells where it really is.
        _inside(root, Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        if os.path.ismount(target):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        if real.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        return target if mounter.bind(f"/proc/self/fd/{descriptor}", target) else real
    except OSError as error:
        raise VolumeProblem(f"failed to prepare subPath for volumeMount: {error}") from error
    finally:
        os.close(descriptor)


def _make(root: Path, path: Path, mode: int) -> None:
    """As open as the volume itself, whatever our umask."""
    if path != root and not path.exists():
        _make(root, path.parent, mode)
        path.mkdir()
        path.chmod(mode)


def _inside(root: Path, path: Path) -> Path:
    real = Path(os.path.realpath(path))
    if real != root and root not in real.parents:
        raise VolumeProblem(f"failed to prepare subPath: {path} is not within {root}")
    return real
