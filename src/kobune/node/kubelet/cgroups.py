"""Cgroups of pods: limits that hold for all containers of a pod together, and for all pods of the node."""

import logging
import os
from pathlib import Path

from kobune.node.kubelet.config import Amounts, KubeletConfig
from kobune.node.kubelet.containers import cgroup_parent
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.qos import PERIOD_US, cpu_quota_us, cpu_shares, pod_limits, pod_requests
from kobune.node.machine.cgroups import Hierarchies, every_root

log = logging.getLogger(__name__)


class PodCgroups:
    """The cgroups of one node's pods.

    Args:
        hierarchies: None where cgroups cannot be written; every method then does nothing.
    """

    def __init__(self, config: KubeletConfig, hierarchies: Hierarchies | None) -> None:
        self._config = config
        self._hierarchies = hierarchies

    def enforce_allocatable(self) -> None:
        """Keep all pods together within capacity less reservations, and within the processors of the declared size.

        Source: upstream enforceNodeAllocatable=pods; a machine of that size would have no more processors.
        """
        config = self._config
        cpu = _less(config.capacity, config.kube_reserved, config.system_reserved, "cpu_millicores")
        memory = _less(config.capacity, config.kube_reserved, config.system_reserved, "memory_bytes")
        self._write(
            f"{config.cgroup_root.rstrip('/')}/kubepods",
            shares=cpu_shares(cpu),
            quota_us=cpu_quota_us(config.cpu_ceiling),
            memory_bytes=memory,
        )

    def make(self, pod: Pod) -> None:
        """The pod's cgroup with its requests and limits."""
        cpu, _, _ = pod_requests(pod)
        cpu_limit, memory_limit = pod_limits(pod)
        path = cgroup_parent(pod, self._config.cgroup_root)
        quota = cpu_quota_us(cpu_limit, self._config.cpu_ceiling)
        self._write(path, shares=cpu_shares(cpu), quota_us=quota, memory_bytes=memory_limit)

    def remove(self, pod: Pod) -> None:
        """Forget the pod's cgroup; one that still has processes stays until it is tried again."""
        if self._hierarchies is None:
            return
        relative = cgroup_parent(pod, self._config.cgroup_root).lstrip("/")
        for root in every_root():
            for directory, _, _ in os.walk(root / relative, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError as error:
                    log.debug("cgroup not removed", extra={"cgroup": directory, "error": str(error)})

    def _write(self, path: str, *, shares: int, memory_bytes: int, quota_us: int = 0) -> None:
        if self._hierarchies is None:
            return
        relative = path.lstrip("/")
        if self._hierarchies.unified is None:
            values = {"cpu": {"cpu.shares": str(shares)}, "memory": {}, "pids": {}}
            if quota_us:
                values["cpu"] |= {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)}
            if memory_bytes:
                values["memory"]["memory.limit_in_bytes"] = str(memory_bytes)
            for controller, files in values.items():
                root = self._hierarchies.legacy.get(controller)
                if root is not None:
                    _put(root / relative, files)
        else:
            files = {"cpu.weight": str(1 + (shares - 2) * 9999 // 262142)}  # Source: runc's conversion of shares.
            if quota_us:
                files["cpu.max"] = f"{quota_us} {PERIOD_US}"
            if memory_bytes:
                files["memory.max"] = str(memory_bytes)
            _enable_controllers(self._hierarchies.unified, relative)
            _put(self._hierarchies.unified / relative, files)


def _put(directory: Path, files: dict[str, str]) -> None:
    """A limit that cannot be set is no reason not to run the pod: the containers' own limits hold."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (directory / name).write_text(value)
    except OSError as error:
        log.warning("cgroup not written", extra={"cgroup": str(directory), "error": str(error)})


def _enable_controllers(root: Path, relative: str) -> None:
    """Version 2 hands a controller down one level at a time."""
    parts = Path(relative).parts
    for depth in range(len(parts)):
        parent = root.joinpath(*parts[:depth])
        try:
            parent.mkdir(parents=True, exist_ok=True)
            (parent / "cgroup.subtree_control").write_text("+cpu +memory +pids")
        except OSError as error:
            log.debug("controllers not enabled", extra={"cgroup": str(parent), "error": str(error)})


def _less(total: Amounts, one: Amounts, other: Amounts, resource: str) -> int:
    left: int = getattr(total, resource) - getattr(one, resource) - getattr(other, resource)
    return max(0, left)
