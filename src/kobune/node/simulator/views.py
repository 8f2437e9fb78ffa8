"""What the simulator reads of a pod: little, because there are many."""

from datetime import datetime
from typing import ClassVar

import msgspec

from kobune.api.objects.meta import GVK, Object, View


class Requests(View):
    requests: dict[str, str | int | float] = {}


class SimContainer(View):
    name: str = ""
    image: str = ""
    restart_policy: str = ""
    resources: Requests = msgspec.field(default_factory=Requests)


class SimPodSpec(View):
    node_name: str = ""
    containers: list[SimContainer] = []
    init_containers: list[SimContainer] = []
    restart_policy: str = "Always"
    host_network: bool = False


class Began(View):
    started_at: datetime | None = None


class Waiting(View):
    reason: str = ""


class SimState(View):
    running: Began | None = None
    waiting: Waiting | None = None


class SimContainerStatus(View):
    name: str = ""
    restart_count: int = 0
    ready: bool = False
    state: SimState = msgspec.field(default_factory=SimState)


class SimPodStatus(View):
    phase: str = "Pending"
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: datetime | None = None
    container_statuses: list[SimContainerStatus] = []


class SimPod(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Pod")
    spec: SimPodSpec = msgspec.field(default_factory=SimPodSpec)
    status: SimPodStatus = msgspec.field(default_factory=SimPodStatus)
