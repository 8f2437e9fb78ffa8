"""What the scheduler reads of kinds other than pods and nodes: a few fields of each."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.core import LabelSelector
from kobune.api.objects.meta import GVK, Condition, Object, View


class Namespace(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Namespace")


class MapSelectorSpec(View):
    selector: dict[str, str] | None = None


class Service(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Service")
    spec: MapSelectorSpec = msgspec.field(default_factory=MapSelectorSpec)


class ReplicationController(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "ReplicationController")
    spec: MapSelectorSpec = msgspec.field(default_factory=MapSelectorSpec)


class LabelSelectorSpec(View):
    selector: LabelSelector | None = None


class ReplicaSet(Object):
    gvk: ClassVar[GVK] = GVK("apps", "v1", "ReplicaSet")
    spec: LabelSelectorSpec = msgspec.field(default_factory=LabelSelectorSpec)


class StatefulSet(Object):
    gvk: ClassVar[GVK] = GVK("apps", "v1", "StatefulSet")
    spec: LabelSelectorSpec = msgspec.field(default_factory=LabelSelectorSpec)


class DisruptionBudgetStatus(View):
    disruptions_allowed: int = 0
    disrupted_pods: dict[str, datetime] | None = None


class PodDisruptionBudget(Object):
    gvk: ClassVar[GVK] = GVK("policy", "v1", "PodDisruptionBudget")
    spec: LabelSelectorSpec = msgspec.field(default_factory=LabelSelectorSpec)
    status: DisruptionBudgetStatus = msgspec.field(default_factory=DisruptionBudgetStatus)


class NodeResources(View):
    count: int | None = None


class CSINodeDriver(View):
    name: str
    node_id: str = msgspec.field(default="", name="nodeID")
    topology_keys: list[str] | None = None
    allocatable: NodeResources | None = None


class CSINodeSpec(View):
    drivers: list[CSINodeDriver] = []


class CSINode(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "CSINode")
    spec: CSINodeSpec = msgspec.field(default_factory=CSINodeSpec)


class CSIStorageCapacity(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "CSIStorageCapacity")
    storage_class_name: str = ""
    node_topology: LabelSelector | None = None
    capacity: str | None = None
    maximum_volume_size: str | None = None


class GangPolicy(View):
    min_count: int = 0


class SchedulingPolicy(View):
    gang: GangPolicy | None = None


class PodGroupSpec(View):
    scheduling_policy: SchedulingPolicy = msgspec.field(default_factory=SchedulingPolicy)


class PodGroupStatus(View):
    conditions: list[Condition] = []


class PodGroup(Object):
    gvk: ClassVar[GVK] = GVK("scheduling.k8s.io", "v1alpha2", "PodGroup")
    spec: PodGroupSpec = msgspec.field(default_factory=PodGroupSpec)
    status: PodGroupStatus = msgspec.field(default_factory=PodGroupStatus)


class ResourceClaim(Object):
    """A claim to devices; only allocation looks into it, so it stays JSON."""

    gvk: ClassVar[GVK] = GVK("resource.k8s.io", "v1", "ResourceClaim")
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class ResourceSlice(Object):
    gvk: ClassVar[GVK] = GVK("resource.k8s.io", "v1", "ResourceSlice")
    spec: dict[str, Any] = {}


class DeviceClass(Object):
    gvk: ClassVar[GVK] = GVK("resource.k8s.io", "v1", "DeviceClass")
    spec: dict[str, Any] = {}
