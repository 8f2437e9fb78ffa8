"""What scheduling needs of a pod. The scheduler keeps one of these for each pod that a cluster has."""

from typing import Any

import msgspec

from kobune.api.objects.core import (
    Affinity,
    AnyPod,
    ContainerPort,
    PodSchedulingGate,
    Quantities,
    ResourceRequirements,
    Toleration,
    TopologySpreadConstraint,
)
from kobune.api.objects.meta import View


class PodContainer(View):
    name: str = ""
    image: str = ""
    ports: list[ContainerPort] = []
    resources: ResourceRequirements = msgspec.field(default_factory=ResourceRequirements)
    restart_policy: str = ""  # "Always" on an init container makes it a sidecar.
    restart_policy_rules: list[dict[str, Any]] = []


class PodSpec(View):
    node_name: str = ""
    containers: list[PodContainer] = []
    init_containers: list[PodContainer] = []
    volumes: list[dict[str, Any]] = []
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[TopologySpreadConstraint] = []
    scheduler_name: str = "default-scheduler"
    termination_grace_period_seconds: int | None = None
    scheduling_gates: list[PodSchedulingGate] = []
    priority: int = 0
    preemption_policy: str = "PreemptLowerPriority"
    overhead: Quantities = {}
    resources: ResourceRequirements | None = None
    resource_claims: list[dict[str, Any]] = []
    host_network: bool = False
    host_users: bool = True


class Pod(AnyPod):
    """What scheduling needs of a pod."""

    spec: PodSpec = msgspec.field(default_factory=PodSpec)
