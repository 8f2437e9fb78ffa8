from typing import Any

import pytest
from judge import changed, faults, kind_of, made, subresource_faults, update_faults

NAMESPACE, NODE = kind_of("Namespace", namespaced=False), kind_of("Node", namespaced=False)
CONFIG, SECRET, EVENT, ACCOUNT = (kind_of(name) for name in ("ConfigMap", "Secret", "Event", "ServiceAccount"))
NEW_EVENT, LEASE = kind_of("Event", "events.k8s.io"), kind_of("Lease", "coordination.k8s.io")
RUNTIME, SERVICE, MIGRATION = (
    kind_of(name, group, namespaced=False)
    for name, group in (
        ("RuntimeClass", "node.k8s.io"), ("APIService", "apiregistration.k8s.io"),
        ("StorageVersionMigration", "storagemigration.k8s.io"),
    )
)  # fmt: skip
ACCESS = kind_of("SubjectAccessReview", "authorization.k8s.io", namespaced=False)
FINE = {
    NAMESPACE: made(NAMESPACE, {"status": {"phase": "Active"}}),
    NODE: made(NODE, {"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}),
    CONFIG: made(CONFIG, {"data": {"a": "b"}}),
    SECRET: made(SECRET, {"data": {"a": "YQ=="}}),
    ACCOUNT: made(ACCOUNT, {}),
    EVENT: made(EVENT, {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}}),
    NEW_EVENT: made(NEW_EVENT, {"eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a.b/c", "reportingInstance": "i",
        "action": "x", "reason": "y", "type": "Normal", "regarding": {"kind": "Pod", "namespace": "default"}}),
    LEASE: made(LEASE, {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 10}}),
    RUNTIME: made(RUNTIME, {"handler": "runc"}),
    SERVICE: made(SERVICE, {"spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}, name="v1.a.b"),
    MIGRATION: made(MIGRATION, {"spec": {"resource": {"resource": "pods"}}}),
}  # fmt: skip


def name_of(value: Any) -> str | None:
    return value.name if hasattr(value, "plural") else None


@pytest.mark.parametrize("kind", FINE, ids=name_of)
def test_sound_objects_have_no_fault(kind: Any):
    assert faults(kind, FINE[kind]) == []
    assert update_faults(kind, FINE[kind], FINE[kind]) == []


@pytest.mark.parametrize("kind, change, expected", [
    (NODE, {"spec__podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]},
     ['spec.podCIDRs: Invalid value: ["10.1.0.0/24","10.2.0.0/24"]: may specify no more than one CIDR for each IP family']),
    (NODE, {"spec__taints": [{"key": "a", "effect": "Sometimes"}]},
     ['metadata.taints[0].effect: Unsupported value: "Sometimes": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"']),
    (CONFIG, {"data": {"a b": ""}},
     ["data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g."
      " 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"]),
    (CONFIG, {"binaryData": {"a": "YQ=="}}, ['data[a]: Invalid value: "a": duplicate of key present in binaryData']),
    (SECRET, {"type": "kubernetes.io/tls"}, ["data[tls.crt]: Required value", "data[tls.key]: Required value"]),
    (SECRET, {"type": "kubernetes.io/dockerconfigjson"}, ["data[.dockerconfigjson]: Required value"]),
    (SECRET, {"type": "kubernetes.io/service-account-token"},
     ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]),
    (EVENT, {"involvedObject__namespace": "other"}, ['involvedObject.namespace: Invalid value: "other": does not match event.namespace']),
    (NEW_EVENT, {"type": "Odd"}, ['type: Invalid value: "": has invalid value: Odd']),
    (NEW_EVENT, {"reason": ""}, ["reason: Required value"]),
    (NEW_EVENT, {"series": {"count": 1}},
     ['series.count: Invalid value: "": should be at least 2', "series.lastObservedTime: Required value"]),
    (LEASE, {"spec__leaseDurationSeconds": 0}, ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
    (RUNTIME, {"handler": ""}, ["handler: Required value"]),
    (SERVICE, {"metadata__name": "v2.a.b"},
     ['metadata.name: Invalid value: "v2.a.b": must be `spec.version+"."+spec.group`: "v1.a.b"']),
    (SERVICE, {"spec__versionPriority": 0}, ["spec.versionPriority: Invalid value: 0: must be positive and less than 1000"]),
    (MIGRATION, {"spec__resource": {}}, ["spec.resource.resource: Required value: resource is required to be set"]),
], ids=name_of)  # fmt: skip
def test_faults_of_new_objects(kind: Any, change: dict[str, Any], expected: list[str]):
    assert faults(kind, changed(FINE[kind], **change)) == expected


def test_a_fixed_config_map_stays():
    fixed = changed(FINE[CONFIG], immutable=True)
    assert update_faults(CONFIG, changed(fixed, data={"a": "c"}), fixed) == [
        "data: Forbidden: field is immutable when `immutable` is set"
    ]
    assert update_faults(CONFIG, changed(fixed, immutable=None), fixed) == [
        "immutable: Forbidden: field is immutable when `immutable` is set"
    ]


def test_the_type_of_a_secret_stays():
    assert update_faults(SECRET, changed(FINE[SECRET], type="other"), FINE[SECRET]) == [
        'type: Invalid value: "other": field is immutable'
    ]


def test_a_namespace_is_active_until_it_is_deleted():
    gone = changed(FINE[NAMESPACE], metadata__deletionTimestamp="2026-01-01T00:00:00Z")
    assert subresource_faults(NAMESPACE, "status", gone, gone) == [
        "status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty"
    ]
    odd = changed(FINE[NAMESPACE], spec__finalizers=["odd"])
    assert subresource_faults(NAMESPACE, "finalize", odd, FINE[NAMESPACE]) == [
        'spec.finalizers[0]: Invalid value: "odd": name is neither a standard finalizer name nor is it fully qualified'
    ]


@pytest.mark.parametrize("spec, expected", [
    ({"user": "u", "resourceAttributes": {"verb": "get"}}, []),
    ({"resourceAttributes": {}}, ['spec.user: Invalid value: "": at least one of user or group must be specified']),
    ({"user": "u"}, ["spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be"
                     " specified"]),
    ({"user": "u", "resourceAttributes": {"labelSelector": {}}},
     ["spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified,"
      " requirements or rawSelector is required"]),
])  # fmt: skip
def test_questions_of_access(spec: dict[str, Any], expected: list[str]):
    assert faults(ACCESS, {"spec": spec}) == expected
