"""What scheduling needs of a pod. The scheduler keeps one of these for each pod that a cluster has."""

from operator import attrgetter
from sys import intern
from typing import Any

import msgspec

from kobune.api.objects.core import (
    Affinity,
    AnyPod,
    AnyPodStatus,
    ContainerPort,
    PodSchedulingGate,
    PodSchedulingGroup,
    Quantities,
    ResourceRequirements,
    Toleration,
    TopologySpreadConstraint,
)
from kobune.api.objects.meta import View
from kobune.api.sharing import Shared, no_entries, nothing


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

    @property
    def has_source(self) -> bool:
        """Its source is one of those."""
        return _sources(self) != _NO_SOURCES


CONDITIONS = ("PodScheduled", "DisruptionTarget")
_SOURCES = tuple(field for field in PodVolume.__struct_fields__ if field != "name")
_NO_SOURCES = (None,) * len(_SOURCES)
_sources = attrgetter(*_SOURCES)


class PodSpec(View):
    node_name: str = ""
    containers: list[PodContainer] = msgspec.field(default_factory=nothing)
    init_containers: list[PodContainer] = msgspec.field(default_factory=nothing)
    volumes: list[PodVolume] = msgspec.field(default_factory=nothing)  # Those with a source named above.
    node_selector: dict[str, str] = msgspec.field(default_factory=no_entries)
    affinity: Affinity | None = None
    tolerations: list[Toleration] = msgspec.field(default_factory=nothing)
    topology_spread_constraints: list[TopologySpreadConstraint] = msgspec.field(default_factory=nothing)
    scheduler_name: str = "default-scheduler"
    termination_grace_period_seconds: int | None = None
    scheduling_gates: list[PodSchedulingGate] = msgspec.field(default_factory=nothing)
    priority: int = 0
    preemption_policy: str = "PreemptLowerPriority"
    overhead: Quantities = msgspec.field(default_factory=no_entries)
    resources: ResourceRequirements | None = None
    resource_claims: list[dict[str, Any]] = msgspec.field(default_factory=nothing)
    host_network: bool = False
    host_users: bool = True
    scheduling_group: PodSchedulingGroup | None = None

    def __post_init__(self) -> None:
        self.node_name = intern(self.node_name)
        self.scheduler_name, self.preemption_policy = intern(self.scheduler_name), intern(self.preemption_policy)
        if self.volumes:
            self.volumes = [each for each in self.volumes if each.has_source] or nothing()
        (
            self.containers, self.init_containers, self.node_selector, self.affinity, self.tolerations,
            self.topology_spread_constraints,
        ) = _parts(
            (
                self.containers, self.init_containers, self.node_selector, self.affinity, self.tolerations,
                self.topology_spread_constraints,
            )
        )  # fmt: skip


_parts = Shared[
    tuple[
        list[PodContainer],
        list[PodContainer],
        dict[str, str],
        Affinity | None,
        list[Toleration],
        list[TopologySpreadConstraint],
    ]
]()


class PodStatus(AnyPodStatus):
    """Of the conditions those that scheduling reads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.conditions = [each for each in self.conditions if each.type in CONDITIONS] or nothing()


class Pod(AnyPod):
    """What scheduling needs of a pod."""

    status: PodStatus = msgspec.field(default_factory=PodStatus)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
