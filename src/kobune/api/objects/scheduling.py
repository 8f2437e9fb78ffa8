"""What scheduling needs of a pod. The scheduler keeps one of these for each pod that a cluster has."""

from typing import Any

import msgspec

from kobune.api.objects.core import (
    Affinity,
    AnyPod,
    ContainerPort,
    PodSchedulingGate,
    PodSchedulingGroup,
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


class PodVolume(View):
    """The sources that bear on where a pod may go. What a pod reads from the API, as every pod does, is left out."""

    name: str = ""
    persistent_volume_claim: dict[str, Any] | None = None
    ephemeral: dict[str, Any] | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    aws_elastic_block_store: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    azure_file: dict[str, Any] | None = None
    cinder: dict[str, Any] | None = None
    rbd: dict[str, Any] | None = None
    iscsi: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    csi: dict[str, Any] | None = None
    host_path: dict[str, Any] | None = None
    empty_dir: dict[str, Any] | None = None


class PodSpec(View):
    node_name: str = ""
    containers: list[PodContainer] = []
    init_containers: list[PodContainer] = []
    volumes: list[PodVolume] = []
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
    scheduling_group: PodSchedulingGroup | None = None


class Pod(AnyPod):
    """What scheduling needs of a pod."""

    spec: PodSpec = msgspec.field(default_factory=PodSpec)
