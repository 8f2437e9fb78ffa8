from typing import Any

import pytest
from judge import changed, faults, kind_of, made, subresource_faults, update_faults

GROUP = "resource.k8s.io"
CLAIM, TEMPLATE = kind_of("ResourceClaim", GROUP), kind_of("ResourceClaimTemplate", GROUP)
CLASS, SLICE, TAINT = (
    kind_of(name, GROUP, namespaced=False) for name in ("DeviceClass", "ResourceSlice", "DeviceTaintRule")
)
SPEC = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}}
FINE = {
    CLAIM: made(CLAIM, {"spec": SPEC}),
    TEMPLATE: made(TEMPLATE, {"spec": {"spec": SPEC}}),
    CLASS: made(CLASS, {"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
    SLICE: made(SLICE, {"spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "n", "resourceSliceCount": 1}, "devices": [
        {"name": "gpu-0", "attributes": {"model": {"string": "a"}, "example.com/version": {"version": "1.2.3"}}}]}}),
    TAINT: made(TAINT, {"spec": {"taint": {"key": "broken", "effect": "NoExecute"}}}),
}  # fmt: skip
REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"


def name_of(value: Any) -> str | None:
    return value.name if hasattr(value, "plural") else None


@pytest.mark.parametrize("kind", FINE, ids=name_of)
def test_sound_objects_have_no_fault(kind: Any):
    assert faults(kind, FINE[kind]) == []
    assert update_faults(kind, FINE[kind], FINE[kind]) == []


@pytest.mark.parametrize("kind, change, expected", [
    (CLAIM, {"spec__devices__requests__0__exactly": None},
     ["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"]),
    (CLAIM, {"spec__devices__requests__0__exactly__count": 0},
     ["spec.devices.requests[0].exactly.count: Invalid value: 0: must be greater than zero"]),
    (CLAIM, {"spec__devices__requests__1": FINE[CLAIM]["spec"]["devices"]["requests"][0]}, ['spec.devices.requests[1]: Duplicate value: "gpu"']),
    (CLAIM, {"spec__devices__constraints": [{"requests": ["cpu"], "matchAttribute": "a.b/c"}]},
     [f'spec.devices.constraints[0].requests[0]: Invalid value: "cpu": {REFERENCE}']),
    (CLAIM, {"spec__devices__config": [{}]}, ["spec.devices.config[0].opaque: Required value"]),
    (CLASS, {"spec__selectors": [{}]}, ["spec.selectors[0].cel: Required value"]),
    (CLASS, {"spec__extendedResourceName": "cpu"},
     ['spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name']),
    (SLICE, {"spec__nodeName": None},
     ["spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"]),
    (SLICE, {"spec__allNodes": True},
     ['spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is'
      " required, but multiple fields are set"]),
    (SLICE, {"spec__devices__0__attributes__model": {"string": "a", "int": 1}},
     ['spec.devices[0].attributes[model]: Invalid value: {"string":"a","int":1}: exactly one value must be specified']),
    (SLICE, {"spec__devices__0__attributes__version": {"version": "1"}},
     ['spec.devices[0].attributes[version].version: Invalid value: "1": must be a string compatible with semver.org spec 2.0.0']),
    (SLICE, {"spec__devices__0__bindingConditions": ["a"]},
     ["spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions"]),
    (SLICE, {"spec__devices__0__allowMultipleAllocations": True,
             "spec__devices__0__capacity": {"m": {"value": "4", "requestPolicy": {"default": "9", "validRange": {"min": "1", "max": "8"}}}}},
     ['spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "8": max is larger than capacity value: 4',
      'spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "9": default is more than max: 8']),
    (TAINT, {"spec__taint__effect": "Explode"},
     ['spec.taint.effect: Unsupported value: "Explode": supported values: "NoExecute", "NoSchedule", "None"']),
], ids=name_of)  # fmt: skip
def test_faults_of_new_objects(kind: Any, change: dict[str, Any], expected: list[str]):
    assert faults(kind, changed(FINE[kind], **change)) == expected


def test_allocation():
    result = {"request": "gpu", "driver": "d.example.com", "pool": "n", "device": "gpu-0"}
    consumer = {"resource": "pods", "name": "p", "uid": "1"}
    allocated = changed(
        FINE[CLAIM], status={"allocation": {"devices": {"results": [result]}}, "reservedFor": [consumer]}
    )
    assert subresource_faults(CLAIM, "status", allocated, FINE[CLAIM]) == []
    other = changed(allocated, status__allocation__devices__results__0__request="cpu")
    assert subresource_faults(CLAIM, "status", other, FINE[CLAIM]) == [
        f'status.allocation.devices.results[0].request: Invalid value: "cpu": {REFERENCE}'
    ]
    assert [fault.partition(":")[0] for fault in subresource_faults(CLAIM, "status", other, allocated)] == [
        "status.allocation"
    ]
    reserved = changed(FINE[CLAIM], status={"reservedFor": [consumer]})
    assert subresource_faults(CLAIM, "status", reserved, FINE[CLAIM]) == [
        "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
    ]
