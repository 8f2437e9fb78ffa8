"""What a machine needs for real nodes, and plain sentences about what it lacks."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from kobune.node.machine.cgroups import MOUNTS, find_hierarchies
from kobune.node.machine.containerd import CNI_FOLDERS, find_cni_plugins

PROGRAMS = {  # Program: Debian's package.
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "conntrack": "conntrack",
    "busybox": "busybox-static",
}
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # Source: linux/capability.h.
CAP_SYS_RESOURCE = 24


def find_missing() -> Sequence[str]:
    """One sentence for each thing without which no real node can run here; empty when one can."""
    if sys.platform != "linux":
        return ["Real nodes need Linux."]
    missing = []
    if os.geteuid() != 0:
        missing.append("Real nodes need root.")
    missing += [
        f"This process lacks {name}, which network namespaces and mounts need."
        for name, number in CAPABILITIES.items()
        if os.geteuid() == 0 and not has_capability(number)
    ]
    missing += [
        f"The program {program} is not on the PATH (Debian package {package})."
        for program, package in PROGRAMS.items()
        if which(program) is None
    ]
    if find_cni_plugins() is None:
        places = " or ".join(str(folder) for folder in CNI_FOLDERS)
        missing.append(f"The CNI plug-ins bridge, host-local and loopback are not in {places}"
                       " (Debian package containernetworking-plugins).")  # fmt: skip
    hierarchies = find_hierarchies(MOUNTS.read_text())
    if not hierarchies.roots:
        missing.append("No cgroup file system is mounted.")
    elif hierarchies.missing:
        missing.append(f"The kernel offers no cgroup controller for {', '.join(hierarchies.missing)}.")
    return missing


def has_capability(number: int) -> bool:
    """Whether this process has the capability now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
