"""What node and pods use: the summary API, and the same figures as Prometheus metrics for metrics-server."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kobune.api.errors import Json
from kobune.api.timestamps import format_time
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.runtime.runtime import ContainerStats, State


@dataclass(slots=True)
class _Sample:
    at: datetime
    cpu_ns: int
    nanocores: int


class Rates:
    """Turns cpu time since the start into cpu used now, from one look to the next."""

    def __init__(self) -> None:
        self._samples: dict[str, _Sample] = {}

    def nanocores(self, name: str, at: datetime, cpu_ns: int) -> int:
        """Cpu in use between the last look and this one; of the first look nothing is known, which is 0."""
        last = self._samples.get(name)
        if last is not None and (seconds := (at - last.at).total_seconds()) > 0:
            rate = max(0, int((cpu_ns - last.cpu_ns) / seconds))
        else:
            rate = last.nanocores if last is not None else 0
        self._samples[name] = _Sample(at, cpu_ns, rate)
        return rate

    def keep(self, names: set[str]) -> None:
        """Forget all others."""
        for name in [name for name in self._samples if name not in names]:
            del self._samples[name]


def summary(
    config: KubeletConfig,
    pods: Sequence[Pod],
    states: Mapping[str, PodState],
    stats: Sequence[ContainerStats],
    rates: Rates,
    now: datetime,
    *,
    since: datetime,
) -> Json:
    """As GET /stats/summary answers."""
    by_id = {each.container_id: each for each in stats}
    items = [_pod(pod, states[pod.uid], by_id, rates, now) for pod in pods if pod.uid in states]
    rates.keep(set(by_id))
    cpu = sum(item["cpu"]["usageNanoCores"] for item in items)
    cpu_total = sum(item["cpu"]["usageCoreNanoSeconds"] for item in items)
    memory = sum(item["memory"]["workingSetBytes"] for item in items)
    at = format_time(now)
    return {
        "node": {
            "nodeName": config.node_name,
            "startTime": format_time(since),
            "cpu": {"time": at, "usageNanoCores": cpu, "usageCoreNanoSeconds": cpu_total},
            "memory": {
                "time": at,
                "availableBytes": max(0, config.capacity.memory_bytes - memory),
                "usageBytes": memory,
                "workingSetBytes": memory,
                "rssBytes": sum(item["memory"]["rssBytes"] for item in items),
            },
            "fs": {"time": at, **disk_stats(config.root_dir)},
            "runtime": {"imageFs": {"time": at, **disk_stats(config.root_dir)}},
        },
        "pods": items,
    }


def _pod(pod: Pod, state: PodState, by_id: Mapping[str, ContainerStats], rates: Rates, now: datetime) -> Json:
    containers: list[Json] = []
    for record in state.containers:
        stats = by_id.get(record.id)
        if record.state is not State.RUNNING or stats is None:
            continue
        at = format_time(stats.at)
        nanocores = rates.nanocores(record.id, stats.at, stats.cpu_usage_ns)
        containers.append(
            {
                "name": record.name,
                "startTime": format_time(record.started or record.created),
                "cpu": {"time": at, "usageNanoCores": nanocores, "usageCoreNanoSeconds": stats.cpu_usage_ns},
                "memory": {
                    "time": at,
                    "usageBytes": stats.memory_working_set_bytes,
                    "workingSetBytes": stats.memory_working_set_bytes,
                    "rssBytes": stats.memory_rss_bytes,
                },
                "rootfs": {"time": at, "usedBytes": stats.rootfs_used_bytes},
            }
        )
    at = format_time(now)

    def total(part: str, field: str) -> int:
        return sum(each[part][field] for each in containers)

    return {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": pod.status.get("startTime", at),
        "containers": containers,
        "cpu": {
            "time": at,
            "usageNanoCores": total("cpu", "usageNanoCores"),
            "usageCoreNanoSeconds": total("cpu", "usageCoreNanoSeconds"),
        },
        "memory": {
            "time": at,
            "usageBytes": total("memory", "usageBytes"),
            "workingSetBytes": total("memory", "workingSetBytes"),
            "rssBytes": total("memory", "rssBytes"),
        },
        "ephemeral-storage": {"time": at, "usedBytes": total("rootfs", "usedBytes")},
    }


def disk_stats(path: Path) -> Json:
    """The file system that holds `path`."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return {}
    return {
        "availableBytes": disk.f_bavail * disk.f_frsize,
        "capacityBytes": disk.f_blocks * disk.f_frsize,
        "usedBytes": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        "inodesFree": disk.f_ffree,
        "inodes": disk.f_files,
        "inodesUsed": disk.f_files - disk.f_ffree,
    }


def resource_metrics(report: Json, now: datetime) -> str:
    """As GET /metrics/resource answers, from the summary."""
    millis = int(now.timestamp() * 1000)
    families: dict[str, tuple[str, str, list[str]]] = {
        "node_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed by the node in core-seconds", []),
        "node_memory_working_set_bytes": ("gauge", "Current working set of the node in bytes", []),
        "pod_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed by the pod in core-seconds", []),
        "pod_memory_working_set_bytes": ("gauge", "Current working set of the pod in bytes", []),
        "container_cpu_usage_seconds_total": (
            "counter",
            "Cumulative cpu time consumed by the container in core-seconds",
            [],
        ),
        "container_memory_working_set_bytes": ("gauge", "Current working set of the container in bytes", []),
        "container_start_time_seconds": ("gauge", "Start time of the container since unix epoch in seconds", []),
        "scrape_error": ("gauge", "1 if there was an error while getting container metrics, 0 otherwise", []),
    }

    def add(family: str, labels: str, value: object, at: str = "") -> None:
        name = f"{family}{{{labels}}}" if labels else family
        families[family][2].append(f"{name} {value}{at}")

    stamp = f" {millis}"
    node = report["node"]
    add("node_cpu_usage_seconds_total", "", node["cpu"]["usageCoreNanoSeconds"] / 1e9, stamp)
    add("node_memory_working_set_bytes", "", node["memory"]["workingSetBytes"], stamp)
    for pod in report["pods"]:
        of_pod = f'namespace="{pod["podRef"]["namespace"]}",pod="{pod["podRef"]["name"]}"'
        add("pod_cpu_usage_seconds_total", of_pod, pod["cpu"]["usageCoreNanoSeconds"] / 1e9, stamp)
        add("pod_memory_working_set_bytes", of_pod, pod["memory"]["workingSetBytes"], stamp)
        for each in pod["containers"]:
            labels = f'container="{each["name"]}",{of_pod}'
            add("container_cpu_usage_seconds_total", labels, each["cpu"]["usageCoreNanoSeconds"] / 1e9, stamp)
            add("container_memory_working_set_bytes", labels, each["memory"]["workingSetBytes"], stamp)
            began = datetime.fromisoformat(each["startTime"]).timestamp()
            add("container_start_time_seconds", labels, began)
    add("scrape_error", "", 0)
    lines = []
    for family, (kind, text, samples) in families.items():
        lines += [f"# HELP {family} [STABLE] {text}", f"# TYPE {family} {kind}", *samples]
    return "\n".join(lines) + "\n"
