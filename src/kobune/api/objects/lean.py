"""Views that read little of much: what controllers keep in memory of a whole cluster's pods, and of every kind there is."""

from sys import intern
from typing import Any

import msgspec

from kobune.api.objects.core import Affinity, AnyPod, PodSchedulingGroup, Quantities, ResourceRequirements, Toleration
from kobune.api.objects.meta import Object, View
from kobune.api.sharing import Shared, no_entries, nothing


class AnyObject(Object):
    """The metadata of an object of whatever kind; its informer is told the resource."""


class NamedPort(View):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class LeanContainer(View):
    name: str = ""
    ports: list[NamedPort] = []
    restart_policy: str = ""
    resources: ResourceRequirements = msgspec.field(default_factory=ResourceRequirements)


class ClaimSource(View):
    claim_name: str = ""


class PodVolume(View):
    name: str = ""
    persistent_volume_claim: ClaimSource | None = None
    ephemeral: dict[str, Any] | None = None

    @property
    def has_claim(self) -> bool:
        return self.persistent_volume_claim is not None or self.ephemeral is not None


class PodResourceClaim(View):
    name: str = ""
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class LeanPodSpec(View):
    node_name: str = ""
    containers: list[LeanContainer] = msgspec.field(default_factory=nothing)
    init_containers: list[LeanContainer] = msgspec.field(default_factory=nothing)
    volumes: list[PodVolume] = msgspec.field(default_factory=nothing)  # Those for which there are claims.
    tolerations: list[Toleration] = msgspec.field(default_factory=nothing)
    affinity: Affinity | None = None
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = False
    priority: int = 0
    priority_class_name: str = ""
    active_deadline_seconds: int | None = None
    resources: ResourceRequirements | None = None
    resource_claims: list[PodResourceClaim] = msgspec.field(default_factory=nothing)
    overhead: Quantities = msgspec.field(default_factory=no_entries)
    scheduling_group: PodSchedulingGroup | None = None

    def __post_init__(self) -> None:
        self.node_name = intern(self.node_name)
        if self.volumes:
            self.volumes = [each for each in self.volumes if each.has_claim] or nothing()
        self.containers, self.init_containers, self.tolerations, self.affinity = _parts(
            (self.containers, self.init_containers, self.tolerations, self.affinity)
        )


_parts = Shared[tuple[list[LeanContainer], list[LeanContainer], list[Toleration], Affinity | None]]()


class Pod(AnyPod):
    """What controllers read of a pod; a cluster's worth of these is in memory."""

    spec: LeanPodSpec = msgspec.field(default_factory=LeanPodSpec)
