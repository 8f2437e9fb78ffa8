"""Ends pods before the node runs out of memory, disk or process ids, and those that take more disk than they may.

Source: upstream pkg/kubelet/eviction: hard thresholds, ranking and messages.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.quantity import format_binary, to_bytes
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.pod import Container, Pod
from kobune.node.kubelet.qos import is_critical

MEMORY, DISK, PIDS = "MemoryPressure", "DiskPressure", "PIDPressure"


class Usage(NamedTuple):
    """What a pod uses, by container."""

    memory_bytes: Mapping[str, int]
    disk_bytes: Mapping[str, int]  # Writable layer and logs.
    volume_bytes: Mapping[str, int]  # By emptyDir.

    @property
    def disk_total(self) -> int:
        return sum(self.disk_bytes.values()) + sum(self.volume_bytes.values())


class Pressure(NamedTuple):
    """A threshold that has been passed."""

    condition: str  # MEMORY, DISK or PIDS.
    resource: str  # "memory", "ephemeral-storage", "inodes" or "pids".
    available: int
    threshold: int


class Eviction(NamedTuple):
    pod: Pod
    message: str


def find_pressures(config: KubeletConfig, memory_used_bytes: int, disk: Json, pids_free_share: float) -> list[Pressure]:
    """The thresholds that are passed now."""
    rules = config.eviction
    found = []
    available = config.capacity.memory_bytes - memory_used_bytes
    if available < rules.memory_available_bytes:
        found.append(Pressure(MEMORY, "memory", max(0, available), rules.memory_available_bytes))
    capacity, free = disk.get("capacityBytes", 0), disk.get("availableBytes", 0)
    if capacity and free < capacity * rules.nodefs_available_share:
        found.append(Pressure(DISK, "ephemeral-storage", free, int(capacity * rules.nodefs_available_share)))
    inodes, free_inodes = disk.get("inodes", 0), disk.get("inodesFree", 0)
    if inodes and free_inodes < inodes * rules.nodefs_inodes_free_share:
        found.append(Pressure(DISK, "inodes", free_inodes, int(inodes * rules.nodefs_inodes_free_share)))
    if pids_free_share < rules.pid_available_share:
        found.append(Pressure(PIDS, "pids", int(pids_free_share * 100), int(rules.pid_available_share * 100)))
    return found


def choose_victim(pressure: Pressure, pods: Sequence[Pod], usage: Mapping[str, Usage]) -> Eviction | None:
    """The pod to end: above its request before below it, then the lowest priority, then the most above its request."""
    candidates = [pod for pod in pods if not is_critical(pod) and pod.uid in usage]
    if not candidates:
        return None
    resource = "memory" if pressure.resource == "memory" else "ephemeral-storage"

    def rank(pod: Pod) -> tuple[bool, int, int]:
        used = _used(usage[pod.uid], resource)
        asked = sum(to_bytes(each.resources.requests.get(resource, 0)) for each in pod.spec.containers)
        return used <= asked, pod.spec.priority, asked - used

    victim = min(candidates, key=rank)
    return Eviction(victim, _message(pressure, victim, usage[victim.uid], resource))


def find_hogs(pods: Sequence[Pod], usage: Mapping[str, Usage]) -> list[Eviction]:
    """Pods that use more local disk than they may: by emptyDir, by container, or altogether."""
    found = []
    for pod in pods:
        words = _over_limit(pod, usage[pod.uid]) if pod.uid in usage else ""
        if words:
            found.append(Eviction(pod, words))
    return found


def _over_limit(pod: Pod, usage: Usage) -> str:
    for volume in pod.spec.volumes:
        source = volume.empty_dir
        if source is None or not source.size_limit or source.medium == "Memory":
            continue
        if usage.volume_bytes.get(volume.name, 0) > to_bytes(source.size_limit):
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{source.size_limit}". '
    limits = {
        each.name: each.resources.limits["ephemeral-storage"]
        for each in pod.spec.containers
        if "ephemeral-storage" in each.resources.limits
    }
    for name, limit in limits.items():
        if usage.disk_bytes.get(name, 0) > to_bytes(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    if len(limits) == len(pod.spec.containers):
        total = sum(to_bytes(limit) for limit in limits.values())
        if usage.disk_total > total:
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {format_binary(total)}. "
    return ""


def _used(usage: Usage, resource: str) -> int:
    return sum(usage.memory_bytes.values()) if resource == "memory" else usage.disk_total


def _message(pressure: Pressure, pod: Pod, usage: Usage, resource: str) -> str:
    words = f"The node was low on resource: {pressure.resource}. "
    words += (
        f"Threshold quantity: {format_binary(pressure.threshold)}, available: {format_binary(pressure.available)}. "
    )
    if pressure.resource in ("memory", "ephemeral-storage"):
        words += "".join(_share(each, usage, resource) for each in pod.spec.containers)
    return words


def _share(container: Container, usage: Usage, resource: str) -> str:
    used = (usage.memory_bytes if resource == "memory" else usage.disk_bytes).get(container.name, 0)
    asked = container.resources.requests.get(resource, 0)
    if used <= to_bytes(asked):
        return ""
    return (
        f"Container {container.name} was using {format_binary(used)}, "
        f"request is {asked}, has larger consumption of {resource}. "
    )
