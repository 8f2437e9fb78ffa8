"""hostPath: a file or directory of the node itself, as the pod asks for it and where it must be of a certain type."""

import stat
from pathlib import Path

from kobune.node.kubelet.volumes.volume import Request, VolumeProblem

_CHECKS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


async def set_up(request: Request) -> Path:
    source = request.volume.host_path
    assert source is not None
    return check_host_path(Path(source.path), source.type)


def check_host_path(path: Path, kind: str) -> Path:
    """The path, made when its type says so. Raises VolumeProblem in upstream's words."""
    if not kind:
        return path
    if not path.exists():
        if kind == "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True)
        elif kind == "FileOrCreate":
            try:
                path.touch(mode=0o644)
            except OSError as error:
                raise VolumeProblem(f"open {path}: {error.strerror}") from error
    fits, words = _CHECKS[kind]
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = 0
    if not fits(mode):
        raise VolumeProblem(f"hostPath type check failed: {path} is not {words}")
    return path
