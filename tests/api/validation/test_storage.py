from typing import Any

import pytest
from judge import changed, faults, kind_of, made, update_faults

VOLUME, CLAIM = kind_of("PersistentVolume", namespaced=False), kind_of("PersistentVolumeClaim")
GROUP = "storage.k8s.io"
CLASS, ATTACHMENT, NODE, DRIVER, ATTRIBUTES = (
    kind_of(name, GROUP, namespaced=False)
    for name in ("StorageClass", "VolumeAttachment", "CSINode", "CSIDriver", "VolumeAttributesClass")
)
CAPACITY = kind_of("CSIStorageCapacity", GROUP)
FINE = {
    VOLUME: made(VOLUME, {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}}}),
    CLAIM: made(CLAIM, {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    CLASS: made(CLASS, {"provisioner": "example.com/disk"}),
    ATTACHMENT: made(ATTACHMENT, {"spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
    NODE: made(NODE, {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": ["zone"]}]}}),
    DRIVER: made(DRIVER, {"spec": {}}),
    ATTRIBUTES: made(ATTRIBUTES, {"driverName": "d.example.com", "parameters": {"iops": "1"}}),
    CAPACITY: made(CAPACITY, {"storageClassName": "c", "capacity": "1Gi", "nodeTopology": {}}),
}  # fmt: skip


def name_of(value: Any) -> str | None:
    return value.name if hasattr(value, "plural") else None


@pytest.mark.parametrize("kind", FINE, ids=name_of)
def test_sound_objects_have_no_fault(kind: Any):
    assert faults(kind, FINE[kind]) == []
    assert update_faults(kind, FINE[kind], FINE[kind]) == []


@pytest.mark.parametrize("kind, change, expected", [
    (VOLUME, {"spec__capacity": {}},
     ["spec.capacity: Required value", 'spec.capacity: Unsupported value: null: supported values: "storage"']),
    (VOLUME, {"spec__accessModes": []}, ["spec.accessModes: Required value"]),
    (VOLUME, {"spec__hostPath": None}, ["spec: Required value: must specify a volume type"]),
    (VOLUME, {"spec__nfs": {"server": "s", "path": "/p"}}, ["spec.nfs: Forbidden: may not specify more than 1 volume type"]),
    (VOLUME, {"spec__hostPath__path": "/a/../b"}, ["spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"]),
    (CLAIM, {"spec__accessModes": []}, ["spec.accessModes: Required value: at least 1 access mode is required"]),
    (CLAIM, {"spec__accessModes": ["ReadSometimes"]},
     ['spec.accessModes: Unsupported value: "ReadSometimes": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce",'
      ' "ReadWriteOncePod"']),
    (CLAIM, {"spec__resources": {}}, ["spec.resources[storage]: Required value"]),
    (CLAIM, {"spec__resources__requests__storage": "0"},
     ['spec.resources[storage]: Invalid value: "0": must be greater than zero']),
    (CLASS, {"provisioner": ""}, ["provisioner: Required value"]),
    (CLASS, {"reclaimPolicy": "Recycle"}, ['reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"']),
    (CLASS, {"parameters": {"": "x"}}, ['parameters: Invalid value: "": field can not be empty.']),
    (CLASS, {"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": []}]}]},
     ["allowedTopologies[0].matchLabelExpressions[0].values: Required value"]),
    (ATTACHMENT, {"spec__source": {}},
     ["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"]),
    (NODE, {"spec__drivers__0__nodeID": ""}, ["spec.drivers[0].nodeID: Required value"]),
    (DRIVER, {"spec__attachRequired": None}, ["spec.attachedRequired: Required value"]),
    (DRIVER, {"spec__tokenRequests": [{"audience": "a"}, {"audience": "a"}]},
     ['spec.tokenRequests[1].audience: Duplicate value: "a"']),
    (ATTRIBUTES, {"parameters": {}}, ["parameters: Required value: must contain at least one key/value pair"]),
    (CAPACITY, {"capacity": "-1"}, ['capacity: Invalid value: "-1": must be greater than or equal to 0']),
], ids=name_of)  # fmt: skip
def test_faults_of_new_objects(kind: Any, change: dict[str, Any], expected: list[str]):
    assert faults(kind, changed(FINE[kind], **change)) == expected


@pytest.mark.parametrize("kind, change, expected", [
    (CLASS, {"provisioner": "other"}, ['provisioner: Invalid value: "other": field is immutable']),
    (ATTRIBUTES, {"driverName": "other.example.com"}, ["driverName: Forbidden: updates to driverName are forbidden."]),
    (NODE, {"spec__drivers__0__allocatable": {"count": 3}}, []),
    (DRIVER, {"spec__attachRequired": False}, ["spec.attachedRequired: Invalid value: false: field is immutable"]),
    (CAPACITY, {"storageClassName": "d"}, ['storageClassName: Invalid value: "d": field is immutable']),
], ids=name_of)  # fmt: skip
def test_faults_of_changes(kind: Any, change: dict[str, Any], expected: list[str]):
    assert update_faults(kind, changed(FINE[kind], **change), FINE[kind]) == expected


def test_a_bound_claim_grows_but_does_not_shrink():
    bound = changed(
        FINE[CLAIM],
        spec__volumeName="v",
        spec__storageClassName="c",
        status__phase="Bound",
        status__capacity={"storage": "1Gi"},
    )
    assert update_faults(CLAIM, changed(bound, spec__resources__requests__storage="2Gi"), bound) == []
    smaller = changed(bound, spec__resources__requests__storage="1Mi")
    assert [fault.partition(":")[0] for fault in update_faults(CLAIM, smaller, bound)] == [
        "spec.resources.requests.storage"
    ]
    other = changed(bound, spec__accessModes=["ReadOnlyMany"])
    assert [fault.partition(":")[0] for fault in update_faults(CLAIM, other, bound)] == ["spec"]
