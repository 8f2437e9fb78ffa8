"""What AKS keeps of a node for itself: capacity minus kube-reserved minus the eviction threshold is allocatable.

Source: the AKS page on node resource reservations; exact arithmetic fitted to, and tested against, real nodes.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from kobune.aks.vm_sizes import VmSize
from kobune.api.errors import Json

KI_PER_MI = 1024
OS_DISK_GIB = 128  # The AKS default.
PODS_AT_MOST = 250
PODS_AT_LEAST = 10
# Kubernetes keeps the eviction threshold of node storage as a 32-bit float; this is its value of 10 %.
TENTH = 0.10000000149011612


class NodeOs(StrEnum):
    LINUX = "Linux"
    WINDOWS = "Windows"


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the explanation."""

    resource: str  # "cpu", "memory", "ephemeral-storage" or "pods"
    reason: str
    amount: str  # With its unit, signed: "-100m", "-1638Mi".


@dataclass(frozen=True, slots=True)
class Reservations:
    """What a node of one size has, what is kept back, and what is left for pods."""

    vm_size: VmSize
    kubernetes_version: str
    max_pods: int
    os: NodeOs
    cpu_capacity_millicores: int
    cpu_reserved_millicores: int
    memory_capacity_ki: int
    memory_reserved_mi: int
    memory_eviction_mi: int
    storage_capacity_ki: int
    storage_allocatable_bytes: int
    lines: tuple[Line, ...]

    @property
    def cpu_allocatable_millicores(self) -> int:
        return self.cpu_capacity_millicores - self.cpu_reserved_millicores

    @property
    def memory_allocatable_ki(self) -> int:
        return self.memory_capacity_ki - KI_PER_MI * (self.memory_reserved_mi + self.memory_eviction_mi)

    def as_json(self) -> Json:
        """The form of `kobune reservations -o json`."""
        return {
            "vmSize": self.vm_size.name,
            "cores": self.vm_size.cores,
            "memoryGiB": self.vm_size.memory_gib,
            "kubernetesVersion": self.kubernetes_version,
            "maxPods": self.max_pods,
            "os": self.os.value,
            "cpu": {
                "capacityMillicores": self.cpu_capacity_millicores,
                "kubeReservedMillicores": self.cpu_reserved_millicores,
                "allocatableMillicores": self.cpu_allocatable_millicores,
            },
            "memory": {
                "capacityKi": self.memory_capacity_ki,
                "kubeReservedMi": self.memory_reserved_mi,
                "evictionMi": self.memory_eviction_mi,
                "allocatableKi": self.memory_allocatable_ki,
            },
            "ephemeralStorage": {
                "capacityKi": self.storage_capacity_ki,
                "allocatableBytes": self.storage_allocatable_bytes,
            },
            "pods": self.max_pods,
            "lines": [{"resource": line.resource, "reason": line.reason, "amount": line.amount} for line in self.lines],
        }


@lru_cache(maxsize=256)
def reservations(
    vm_size: VmSize,
    *,
    kubernetes_version: str,
    max_pods: int,
    os: NodeOs = NodeOs.LINUX,
    capacity_memory_ki: int | None = None,
    os_disk_gib: int = OS_DISK_GIB,
) -> Reservations:
    """What a node offers to pods, with each deduction explained.

    Args:
        kubernetes_version: "1.28" or "1.28.5"; the memory rule changed with 1.29.
        max_pods: the pool's limit, in pods; counts in the memory rule since 1.29.
        capacity_memory_ki: what the kernel of a real node reports; None estimates it from the size.
    """
    new_rule = minor_of(kubernetes_version) >= 29 and os is NodeOs.LINUX
    estimated = capacity_memory_ki is None
    memory_ki = kernel_memory_ki(vm_size) if capacity_memory_ki is None else capacity_memory_ki
    memory_lines = _memory_lines_by_pods(vm_size, max_pods) if new_rule else _memory_lines_by_share(vm_size.memory_mib)
    if os is NodeOs.WINDOWS:
        memory_lines.append(("kube-reserved: Windows system processes", 2048.0))
    reserved_mi = int(sum(amount for _, amount in memory_lines))
    eviction_mi = 0 if os is NodeOs.WINDOWS else 100 if new_rule else 750
    cpu_lines = _cpu_lines(vm_size.cores)
    storage_ki = os_disk_ki(os_disk_gib)
    storage_bytes = storage_ki * 1024
    storage_kept = 0 if os is NodeOs.WINDOWS else int(storage_bytes * TENTH)
    lines = [
        Line("cpu", f"capacity: {vm_size.cores} cores", f"{vm_size.cores * 1000}m"),
        *(Line("cpu", reason, f"-{amount}m") for reason, amount in cpu_lines),
        Line("memory", f"capacity: {'estimated for' if estimated else 'measured of'} {vm_size.memory_gib:g} GiB",
             f"{memory_ki}Ki"),
        *(Line("memory", reason, f"-{amount:g}Mi") for reason, amount in memory_lines),
    ]  # fmt: skip
    if eviction_mi:
        lines.append(Line("memory", f"hard eviction: memory.available<{eviction_mi}Mi", f"-{eviction_mi}Mi"))
    lines.append(Line("ephemeral-storage", f"capacity: {os_disk_gib} GiB OS disk", f"{storage_ki}Ki"))
    if storage_kept:
        lines.append(Line("ephemeral-storage", "hard eviction: nodefs.available<10%", f"-{storage_kept}"))
    lines.append(Line("pods", "max pods of the pool", str(max_pods)))
    return Reservations(
        vm_size=vm_size,
        kubernetes_version=kubernetes_version,
        max_pods=max_pods,
        os=os,
        cpu_capacity_millicores=vm_size.cores * 1000,
        cpu_reserved_millicores=sum(amount for _, amount in cpu_lines),
        memory_capacity_ki=memory_ki,
        memory_reserved_mi=reserved_mi,
        memory_eviction_mi=eviction_mi,
        storage_capacity_ki=storage_ki,
        storage_allocatable_bytes=storage_bytes - storage_kept,
        lines=tuple(lines),
    )


@dataclass(frozen=True, slots=True)
class Freed:
    """What a node leaves to pods before and after a change; all of one resource in one unit."""

    resource: str  # "cpu", "memory" or "ephemeral-storage".
    unit: str  # "m", "Ki" or "" (bytes).
    before: int
    after: int

    @property
    def freed(self) -> int:
        return self.after - self.before


def freed(before: Reservations, after: Reservations) -> list[Freed]:
    """What a change of version (or of maximum pods) gives to pods, or takes from them, resource by resource."""
    return [
        Freed("cpu", "m", before.cpu_allocatable_millicores, after.cpu_allocatable_millicores),
        Freed("memory", "Ki", before.memory_allocatable_ki, after.memory_allocatable_ki),
        Freed("ephemeral-storage", "", before.storage_allocatable_bytes, after.storage_allocatable_bytes),
    ]


def annotation(kept: Reservations) -> str:
    """The sum in one line for each resource, for a node's annotation."""
    left = {"cpu": f"{kept.cpu_allocatable_millicores}m", "memory": f"{kept.memory_allocatable_ki}Ki",
            "ephemeral-storage": str(kept.storage_allocatable_bytes), "pods": str(kept.max_pods)}  # fmt: skip
    texts = []
    for resource, allocatable in left.items():
        terms = [f"{line.amount} ({line.reason})" for line in kept.lines if line.resource == resource]
        texts.append(f"{resource}: {' '.join(terms)} = {allocatable}")
    return "\n".join(texts)


def kernel_memory_ki(vm_size: VmSize) -> int:
    """The memory that a kernel on this size reports, within 20 Mi up to 64 GiB: nominal less firmware, kernel and page tables."""
    return int((vm_size.memory_mib - (100 + 17.7 * vm_size.memory_gib)) * KI_PER_MI)


def os_disk_ki(os_disk_gib: int) -> int:
    """The file system's size on an OS disk; a line through the real nodes with 128 and 256 GB disks."""
    return 1_016_256 * os_disk_gib - 194_640


def minor_of(kubernetes_version: str) -> int:
    """29 for "1.29" and "1.29.3"."""
    return int(kubernetes_version.split(".")[1])


def _cpu_lines(cores: int) -> list[tuple[str, int]]:
    """Millicores kept of the first core, the second, the next two, and all further ones."""
    brackets = (
        ("first core", 1, 60),
        ("second core", 1, 40),
        ("cores 3 and 4", 2, 20),
        ("each core from the 5th", cores, 10),
    )
    lines, left = [], cores
    for name, width, millicores in brackets:
        taken = min(left, width)
        if taken:
            lines.append((f"kube-reserved: {name}", taken * millicores))
        left -= taken
    return lines


def _memory_lines_by_pods(vm_size: VmSize, max_pods: int) -> list[tuple[str, float]]:
    """The rule since 1.29: by pods, at most a quarter of the size's nominal memory."""
    by_pods, quarter = 20 * max_pods + 50, vm_size.memory_mib // 4
    if by_pods <= quarter:
        return [(f"kube-reserved: 20Mi for each of {max_pods} pods and 50Mi", float(by_pods))]
    return [
        (
            f"kube-reserved: 25% of {vm_size.memory_gib:g} GiB, which is less than 20Mi x {max_pods} pods + 50Mi",
            float(quarter),
        )
    ]


def _memory_lines_by_share(nominal_mi: int) -> list[tuple[str, float]]:
    """The rule before 1.29: shrinking shares of the size's nominal memory."""
    brackets = (
        ("25% of the first 4 GiB", 4 * 1024, 0.25),
        ("20% of the next 4 GiB", 4 * 1024, 0.20),
        ("10% of the next 8 GiB", 8 * 1024, 0.10),
        ("6% of the next 112 GiB", 112 * 1024, 0.06),
        ("2% of the rest", nominal_mi, 0.02),
    )
    lines, left = [], nominal_mi
    for name, width, share in brackets:
        taken = min(left, width)
        if taken:
            lines.append((f"kube-reserved: {name}", round(taken * share, 2)))
        left -= taken
    return lines
