"""What a node says about its machine: kernel, operating system, identity; read once from /proc, /sys and /etc."""

import os
from pathlib import Path
from typing import NamedTuple

# platform.machine() names, and those Go and Kubernetes use.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


class Machine(NamedTuple):
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str


def read_machine(root: Path = Path("/")) -> Machine:
    """The machine's description; what cannot be read is empty."""
    system = os.uname()
    machine_id = _text(root / "etc/machine-id")
    return Machine(
        architecture=ARCHITECTURES.get(system.machine, system.machine),
        kernel=system.release,
        os_image=_os_image(root / "etc/os-release"),
        machine_id=machine_id,
        system_uuid=_text(root / "sys/class/dmi/id/product_uuid") or machine_id,
        boot_id=_text(root / "proc/sys/kernel/random/boot_id"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _os_image(path: Path) -> str:
    for line in _text(path).splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip("\"'")
    return "Linux"
