"""A node's control group, on version 1, version 2 and hybrid machines."""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/self/mountinfo")
# What a pod's limits need. Source: upstream kubelet, cgroup manager's required controllers.
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where control groups are made.

    `unified` is version 2's mount point when controllers live there; else `legacy` has version 1's, by controller.
    """

    unified: Path | None
    legacy: dict[str, Path]

    @property
    def roots(self) -> Sequence[Path]:
        """Each place once."""
        found = [self.unified] if self.unified else []
        return [*found, *dict.fromkeys(self.legacy.values())]

    @property
    def missing(self) -> Sequence[str]:
        """Controllers that this machine does not offer."""
        if self.unified is None:
            return [name for name in CONTROLLERS if name not in self.legacy]
        with contextlib.suppress(OSError):
            offered = (self.unified / "cgroup.controllers").read_text().split()
            return [name for name in CONTROLLERS if name not in offered]
        return CONTROLLERS


def find_hierarchies(mountinfo: str) -> Hierarchies:
    """What /proc/self/mountinfo says; on a hybrid machine version 1 has the controllers and version 2 none."""
    unified: Path | None = None
    legacy: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mount_point = Path(left.split()[4])
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2":
            unified = unified or mount_point
        elif kind == "cgroup":
            for option in options.split(","):
                legacy.setdefault(option, mount_point)
    if "memory" in legacy:
        legacy = {name: root for name, root in legacy.items() if name not in ("rw", "ro")}
        return Hierarchies(None, legacy)
    return Hierarchies(unified, {})


def remove(hierarchies: Hierarchies, path: PurePosixPath) -> None:
    """Kill every process below `path` and remove it everywhere; then its parents as far as they are empty.

    Raises:
        OSError: something in it could not be ended within KILL_SECONDS.
    """
    relative = str(path).lstrip("/")
    # Version 1's named hierarchy and a hybrid's version 2 have groups as well, made by runc.
    for root in every_root():
        top = root / relative
        if not top.is_dir():
            continue
        deadline = time.monotonic() + KILL_SECONDS
        for folder, _, _ in os.walk(top, topdown=False):
            _remove_group(Path(folder), deadline)
        for parent in list(top.parents)[: len(path.parts) - 2]:
            with contextlib.suppress(OSError):
                parent.rmdir()


def has_processes(path: PurePosixPath) -> bool:
    """Whether a process is in the group or below it, anywhere."""
    for root in every_root():
        for folder, _, files in os.walk(root / str(path).lstrip("/")):
            with contextlib.suppress(OSError):
                if "cgroup.procs" in files and Path(folder, "cgroup.procs").read_text():
                    return True
    return False


def every_root() -> Sequence[Path]:
    """Every place where a cgroup may have a folder, those without controllers included."""
    roots = []
    for line in MOUNTS.read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            roots.append(Path(left.split()[4]))
    return roots


def _remove_group(group: Path, deadline: float) -> None:
    while True:
        try:
            pids = [int(line) for line in (group / "cgroup.procs").read_text().split()]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)  # The killed ones are on their way out.
