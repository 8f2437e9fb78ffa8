"""Claims, volumes, storage classes and the objects of CSI, as far as controllers read them."""

from typing import Any, ClassVar

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.core import NodeSelector, ObjectReference, Quantities
from kobune.api.objects.meta import GVK, Condition, Object, ObjectMeta, View

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
# The second is read no more upstream, but written for provisioners of long ago.
PROVISIONER_ANNOTATIONS = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT_FOR_CONSUMER = "WaitForFirstConsumer"
LOCAL_PROVISIONER = "kobune.local/volumes"  # Directories on the nodes.


class ClaimResources(View):
    requests: Quantities = {}


class ClaimSpec(View):
    access_modes: list[str] = []
    selector: dict[str, Any] | None = None
    resources: ClaimResources = msgspec.field(default_factory=ClaimResources)
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str | None = None
    data_source: dict[str, Any] | None = None
    volume_attributes_class_name: str | None = None


class ClaimStatus(View):
    phase: str = ""
    access_modes: list[str] = []
    capacity: Quantities = {}
    conditions: list[Condition] = []
    current_volume_attributes_class_name: str | None = None
    modify_volume_status: dict[str, Any] | None = None
    allocated_resources: Quantities = {}


class PersistentVolumeClaim(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "PersistentVolumeClaim")
    spec: ClaimSpec = msgspec.field(default_factory=ClaimSpec)
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)

    @property
    def storage_class(self) -> str:
        """Its name, or empty; an annotation comes before the field."""
        return self.metadata.annotations.get(CLASS_ANNOTATION, self.spec.storage_class_name or "")

    @property
    def names_class(self) -> bool:
        """Somebody has chosen a class, be it the empty one."""
        return CLASS_ANNOTATION in self.metadata.annotations or self.spec.storage_class_name is not None


class LocalSource(View):
    path: str = ""


class HostPathSource(View):
    path: str = ""


class CSISource(View):
    driver: str = ""
    volume_handle: str = ""


class VolumeNodeAffinity(View):
    required: NodeSelector | None = None


class PersistentVolumeSpec(View):
    capacity: Quantities = {}
    access_modes: list[str] = []
    claim_ref: ObjectReference | None = None
    persistent_volume_reclaim_policy: str = "Retain"
    storage_class_name: str = ""
    volume_mode: str | None = None
    node_affinity: VolumeNodeAffinity | None = None
    volume_attributes_class_name: str | None = None
    local: LocalSource | None = None
    host_path: HostPathSource | None = None
    csi: CSISource | None = None
    # What the volume is of a plugin that has moved to a CSI driver.
    aws_elastic_block_store: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    cinder: dict[str, Any] | None = None
    portworx_volume: dict[str, Any] | None = None


class PersistentVolumeStatus(View):
    phase: str = "Pending"


class PersistentVolume(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "PersistentVolume")
    spec: PersistentVolumeSpec = msgspec.field(default_factory=PersistentVolumeSpec)
    status: PersistentVolumeStatus = msgspec.field(default_factory=PersistentVolumeStatus)

    @property
    def storage_class(self) -> str:
        return self.metadata.annotations.get(CLASS_ANNOTATION, self.spec.storage_class_name)


class TopologyRequirement(View):
    key: str
    values: list[str] = []


class TopologyTerm(View):
    match_label_expressions: list[TopologyRequirement] = []


class StorageClass(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "StorageClass")
    provisioner: str = ""
    parameters: dict[str, str] = {}
    reclaim_policy: str = "Delete"
    mount_options: list[str] = []
    allow_volume_expansion: bool = False
    volume_binding_mode: str = "Immediate"
    allowed_topologies: list[TopologyTerm] = []

    @property
    def is_default(self) -> bool:
        marks = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
        return any(self.metadata.annotations.get(mark) == "true" for mark in marks)


class CSIDriverSpec(View):
    attach_required: bool = True
    storage_capacity: bool = False


class CSIDriver(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "CSIDriver")
    spec: CSIDriverSpec = msgspec.field(default_factory=CSIDriverSpec)


class AttachmentSource(View):
    persistent_volume_name: str = ""


class VolumeAttachmentSpec(View):
    attacher: str = ""
    node_name: str = ""
    source: AttachmentSource = msgspec.field(default_factory=AttachmentSource)


class VolumeError(View):
    message: str = ""


class VolumeAttachmentStatus(View):
    attached: bool = False
    attach_error: VolumeError | None = None
    detach_error: VolumeError | None = None
    attachment_metadata: dict[str, str] = {}


class VolumeAttachment(Object):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "VolumeAttachment")
    spec: VolumeAttachmentSpec = msgspec.field(default_factory=VolumeAttachmentSpec)
    status: VolumeAttachmentStatus = msgspec.field(default_factory=VolumeAttachmentStatus)


def claim_reference(claim: ObjectMeta) -> Json:
    """What a volume's `claimRef` says of its claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.namespace,
        "name": claim.name,
        "uid": claim.uid,
        "resourceVersion": claim.resource_version,
    }
