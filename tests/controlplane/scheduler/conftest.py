"""Nodes, pods and tables in few words."""

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import settings

from kobune.api.objects.core import Node
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.pod_info import PodInfo, PodParser

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


class Build:
    """Makes API objects from the few fields a test is about."""

    def __init__(self) -> None:
        self.parser = PodParser()
        self._number = itertools.count(1)

    def node(
        self,
        name: str,
        *,
        cpu: str = "4",
        memory: str = "16Gi",
        pods: int = 110,
        more: dict[str, Any] | None = None,
        labels: dict[str, str] | None = None,
        taints: Iterable[dict[str, str]] = (),
        unschedulable: bool = False,
        images: dict[str, int] | None = None,
        **status: Any,
    ) -> Node:
        amounts = {"cpu": cpu, "memory": memory, "pods": str(pods), **(more or {})}
        return msgspec.convert(
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
                "spec": {"taints": list(taints), "unschedulable": unschedulable},
                "status": {
                    "allocatable": amounts,
                    "capacity": amounts,
                    "images": [{"names": [name], "sizeBytes": size} for name, size in (images or {}).items()],
                    **status,
                },
            },
            Node,
        )

    def pod(
        self,
        name: str = "",
        *,
        namespace: str = "default",
        labels: dict[str, str] | None = None,
        requests: dict[str, str] | None = None,
        on: str = "",
        priority: int = 0,
        ports: Iterable[dict[str, Any]] = (),
        image: str = "app",
        metadata: dict[str, Any] | None = None,
        status: dict[str, Any] | None = None,
        containers: list[dict[str, Any]] | None = None,
        **spec: Any,
    ) -> Pod:
        number = next(self._number)
        name = name or f"pod-{number}"
        container = {"name": "c", "image": image, "resources": {"requests": requests or {}}, "ports": list(ports)}
        return msgspec.convert(
            {
                "metadata": {
                    "name": name, "namespace": namespace, "uid": f"uid-{number}", "labels": labels or {},
                    "creationTimestamp": f"2026-01-01T00:00:{number % 60:02}Z", **(metadata or {}),
                },
                "spec": {"containers": containers or [container], "nodeName": on, "priority": priority, **spec},
                "status": status or {},
            },
            Pod,
        )  # fmt: skip

    def info(self, pod: Pod | None = None, **fields: Any) -> PodInfo:
        return self.parser.parse(self.pod(**fields) if pod is None else pod)

    def table(self, *nodes: Node, pods: Iterable[PodInfo] = ()) -> NodeTable:
        table = NodeTable()
        for node in nodes:
            table.put_node(node)
        for pod in pods:
            table.add_pod(pod, pod.node_name)
        return table


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()
