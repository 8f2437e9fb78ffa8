"""The columns of data: ConfigMaps, Secrets, volumes, their classes and drivers, devices."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kobune.api.errors import Json
from kobune.controlplane.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    UNSET,
    Column,
    GroupKind,
    Printer,
    age,
    name_of,
    named_and_aged,
    part,
)  # fmt: skip
from kobune.controlplane.apiserver.tables.durations import since

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def config_map_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), len(part(obj, "data")) + len(part(obj, "binaryData")), age(obj, now)]


def secret_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("type", ""), len(part(obj, "data")), age(obj, now)]


def volume_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    claim = spec.get("claimRef")
    return [
        name_of(obj), part(spec, "capacity").get("storage", "0"), _modes(spec.get("accessModes") or ()),
        spec.get("persistentVolumeReclaimPolicy", ""), _phase(obj, status),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "", _class(obj, spec),
        spec.get("volumeAttributesClassName", UNSET), status.get("reason", ""), age(obj, now),
        spec.get("volumeMode", UNSET),
    ]  # fmt: skip


def claim_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    volume = spec.get("volumeName", "")
    return [
        name_of(obj), _phase(obj, status), volume, part(status, "capacity").get("storage", "0") if volume else "",
        _modes(status.get("accessModes") or ()) if volume else "", _class(obj, spec),
        spec.get("volumeAttributesClassName", UNSET), age(obj, now), spec.get("volumeMode", UNSET),
    ]  # fmt: skip


def _phase(obj: Json, status: Json) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(status.get("phase", ""))


def _modes(modes: Sequence[str]) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in modes)


def _class(obj: Json, spec: Json) -> str:
    annotation = (obj["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    return str(annotation if annotation is not None else spec.get("storageClassName", ""))


def class_cells(obj: Json, now: datetime) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    default = any(annotations.get(name) == "true" for name in _DEFAULT_CLASS)
    return [
        name_of(obj) + (" (default)" if default else ""), obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"), obj.get("volumeBindingMode", "Immediate"),
        obj.get("allowVolumeExpansion", False), age(obj, now),
    ]  # fmt: skip


def attributes_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("driverName", ""), age(obj, now)]


def attachment_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    return [
        name_of(obj), spec.get("attacher", ""), part(spec, "source").get("persistentVolumeName", ""),
        spec.get("nodeName", ""), bool(part(obj, "status").get("attached")), age(obj, now),
    ]  # fmt: skip


def csi_node_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), len(part(obj, "spec").get("drivers") or ()), age(obj, now)]


def csi_driver_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    requests = spec.get("tokenRequests")
    audiences = UNSET if requests is None else ",".join(one.get("audience", "") for one in requests)
    return [
        name_of(obj), spec.get("attachRequired", True), spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False), audiences, spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE, age(obj, now),
    ]  # fmt: skip


def device_claim_cells(obj: Json, now: datetime) -> list[Any]:
    status = part(obj, "status")
    states = ["deleted"] if obj["metadata"].get("deletionTimestamp") else []
    if status.get("allocation"):
        states += ["allocated", "reserved"] if status.get("reservedFor") else ["allocated"]
    elif not states:
        states = ["pending"]
    return [name_of(obj), ",".join(states), age(obj, now)]


def device_slice_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    pool = part(spec, "pool").get("name", "")
    return [name_of(obj), spec.get("nodeName", ""), spec.get("driver", ""), pool, age(obj, now)]


def device_taint_cells(obj: Json, now: datetime) -> list[Any]:
    taint = part(part(obj, "spec"), "taint")
    added = taint.get("timeAdded")
    fields = (taint.get(field, "") for field in ("key", "value", "effect"))
    return [name_of(obj), *fields, since(added, now) if added else "", age(obj, now)]


PRINTERS: dict[GroupKind, Printer] = {
    ("", "ConfigMap"): Printer((NAME, Column("Data", "How many entries there are."), AGE), config_map_cells),
    ("", "Secret"): Printer(
        (NAME, Column("Type", "What the secret is for."), Column("Data", "How many entries there are."), AGE),
        secret_cells,
    ),
    ("", "PersistentVolume"): Printer(
        (
            NAME,
            Column("Capacity", "The size of the volume."),
            Column("Access Modes", "How the volume can be mounted."),
            Column("Reclaim Policy", "What becomes of the volume after its claim."),
            Column("Status", "What the volume is at."),
            Column("Claim", "The claim that the volume is bound to."),
            Column("StorageClass", "The volume's storage class."),
            Column("VolumeAttributesClass", "The volume's attributes class."),
            Column("Reason", "Why the volume is at this."),
            AGE,
            Column("VolumeMode", "Whether there is a file system on the volume.", priority=1),
        ),
        volume_cells,
    ),
    ("", "PersistentVolumeClaim"): Printer(
        (
            NAME,
            Column("Status", "What the claim is at."),
            Column("Volume", "The volume that the claim is bound to."),
            Column("Capacity", "The size of that volume."),
            Column("Access Modes", "How that volume can be mounted."),
            Column("StorageClass", "The claim's storage class."),
            Column("VolumeAttributesClass", "The claim's attributes class."),
            AGE,
            Column("VolumeMode", "Whether a file system is wanted.", priority=1),
        ),
        claim_cells,
    ),
    ("storage.k8s.io", "StorageClass"): Printer(
        (
            NAME,
            Column("Provisioner", "Who makes volumes of this class."),
            Column("ReclaimPolicy", "What becomes of such volumes after their claims."),
            Column("VolumeBindingMode", "When claims are bound."),
            Column("AllowVolumeExpansion", "Whether such volumes may grow."),
            AGE,
        ),
        class_cells,
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): Printer(
        (NAME, Column("DriverName", "The driver that knows the attributes."), AGE), attributes_cells
    ),
    ("storage.k8s.io", "VolumeAttachment"): Printer(
        (
            NAME,
            Column("Attacher", "The driver that attaches.", format="name"),
            Column("PV", "The volume."),
            Column("Node", "The node it is attached to."),
            Column("Attached", "Whether it is attached.", type="boolean"),
            AGE,
        ),
        attachment_cells,
    ),
    ("storage.k8s.io", "CSINode"): Printer(
        (NAME, Column("Drivers", "How many drivers the node has.", type="integer"), AGE), csi_node_cells
    ),
    ("storage.k8s.io", "CSIDriver"): Printer(
        (
            NAME,
            Column("AttachRequired", "Whether volumes must be attached first.", type="boolean"),
            Column("PodInfoOnMount", "Whether the driver is told of the pod.", type="boolean"),
            Column("StorageCapacity", "Whether the driver publishes its capacity.", type="boolean"),
            Column("TokenRequests", "The audiences of tokens that the driver is given."),
            Column("RequiresRepublish", "Whether mounted volumes are published again and again.", type="boolean"),
            Column("Modes", "The life cycles of volumes that the driver supports."),
            AGE,
        ),
        csi_driver_cells,
    ),
    ("resource.k8s.io", "DeviceClass"): Printer((NAME, AGE), named_and_aged),
    ("resource.k8s.io", "ResourceClaim"): Printer(
        (NAME, Column("State", "What the claim is at."), AGE), device_claim_cells
    ),
    ("resource.k8s.io", "ResourceClaimTemplate"): Printer((NAME, AGE), named_and_aged),
    ("resource.k8s.io", "ResourceSlice"): Printer(
        (
            NAME,
            Column("Node", "The node that has the devices."),
            Column("Driver", "The driver of the devices."),
            Column("Pool", "The pool that the slice is a part of."),
            AGE,
        ),
        device_slice_cells,
    ),
    ("resource.k8s.io", "DeviceTaintRule"): Printer(
        (
            NAME,
            Column("Key", "The key of the taint."),
            Column("Value", "The value of the taint."),
            Column("Effect", "What the taint does."),
            Column("TimeAdded", "The time since the taint was added."),
            AGE,
        ),
        device_taint_cells,
    ),
}
