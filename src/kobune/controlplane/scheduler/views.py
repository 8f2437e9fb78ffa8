"""What the scheduler reads of kinds other than pods and nodes: a few fields of each."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.core import LabelSelector, NodeSelector, ObjectReference, Quantities
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


class ClaimResources(View):
    requests: Quantities = {}


class PersistentVolumeClaimSpec(View):
    volume_name: str = ""
    storage_class_name: str | None = None
    access_modes: list[str] = []
    volume_mode: str | None = None
    selector: LabelSelector | None = None
    resources: ClaimResources = msgspec.field(default_factory=ClaimResources)


class PhaseStatus(View):
    phase: str = ""


class PersistentVolumeClaim(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "PersistentVolumeClaim")
    spec: PersistentVolumeClaimSpec = msgspec.field(default_factory=PersistentVolumeClaimSpec)
    status: PhaseStatus = msgspec.field(default_factory=PhaseStatus)


class VolumeNodeAffinity(View):
    required: NodeSelector | None = None


class CSIVolume(View):
    driver: str = ""
    volume_handle: str = ""


class PersistentVolumeSpec(View):
    capacity: Quantities = {}
    access_modes: list[str] = []
    storage_class_name: str = ""
    volume_mode: str | None = None
    claim_ref: ObjectReference | None = None
    node_affinity: VolumeNodeAffinity | None = None
    csi: CSIVolume | None = None


class PersistentVolume(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "PersistentVolume")
    spec: PersistentVolumeSpec = msgspec.field(default_factory=PersistentVolumeSpec)
    status: PhaseStatus = msgspec.field(default_factory=PhaseStatus)


class TopologySelectorRequirement(View):
    key: str
    values: list[str] = []


class TopologySelectorTerm(View):
    match_label_expressions: list[TopologySelectorRequirement] = []


class StorageClass(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "StorageClass")
    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
    allowed_topologies: list[TopologySelectorTerm] = []


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


class CSIDriverSpec(View):
    storage_capacity: bool = False


class CSIDriver(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "CSIDriver")
    spec: CSIDriverSpec = msgspec.field(default_factory=CSIDriverSpec)


class CSIStorageCapacity(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "CSIStorageCapacity")
    storage_class_name: str = ""
    node_topology: LabelSelector | None = None
    capacity: str | None = None
    maximum_volume_size: str | None = None


class AttachmentSource(View):
    persistent_volume_name: str | None = None


class VolumeAttachmentSpec(View):
    attacher: str = ""
    node_name: str = ""
    source: AttachmentSource = msgspec.field(default_factory=AttachmentSource)


class VolumeAttachment(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "VolumeAttachment")
    spec: VolumeAttachmentSpec = msgspec.field(default_factory=VolumeAttachmentSpec)


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
