import pytest
from judge import changed, faults, kind_of, made, update_faults

from kobune.api.field_errors import invalid, not_supported, quote
from kobune.api.names import NOT_A_LABEL_VALUE, NOT_A_SUBDOMAIN

MAP = kind_of("ConfigMap")
NODE = kind_of("Node", namespaced=False)
FINE = made(MAP, {})
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}


@pytest.mark.parametrize("change, fault", [
    ({"name": "Bad"}, f'metadata.name: Invalid value: "Bad": {NOT_A_SUBDOMAIN}'),
    ({"name": ""}, "metadata.name: Required value: name or generateName is required"),
    ({"namespace": ""}, "metadata.namespace: Required value"),
    ({"namespace": "a.b"}, 'metadata.namespace: Invalid value: "a.b": must not contain dots'),
    ({"labels": {"a": "b c"}}, f'metadata.labels: Invalid value: "b c": {NOT_A_LABEL_VALUE}'),
    ({"annotations": {"a": "x" * 270_000}}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
    ({"ownerReferences": [{**OWNER, "uid": ""}]}, 'metadata.ownerReferences.uid: Invalid value: "": must not be empty'),
    ({"finalizers": ["mine"]},
     'metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified'),
    ({"finalizers": ["orphan", "foregroundDeletion"]},
     'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set'),
    ({"generation": -1}, "metadata.generation: Invalid value: -1: must be greater than or equal to 0"),
])  # fmt: skip
def test_metadata_of_a_new_object(change, fault):
    assert faults(MAP, {**FINE, "metadata": {**FINE["metadata"], **change}}) == [fault]


def test_sound_metadata_has_no_fault():
    metadata = {
        **FINE["metadata"],
        "generateName": "a-",
        "labels": {"app.kubernetes.io/name": "web"},
        "annotations": {"Some.Company/Key": "anything at all"},
        "finalizers": ["example.com/mine", "orphan"],
        "ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "controller": False}],
    }
    assert faults(MAP, {"metadata": metadata}) == []


def test_one_controller_at_most():
    owners = [{**OWNER, "controller": True}, {**OWNER, "name": "q", "controller": True}]
    (fault,) = faults(MAP, changed(FINE, metadata__ownerReferences=owners))
    assert fault.endswith('Found "true" in references for Pod/p and Pod/q')


def test_a_kind_without_namespaces_refuses_one():
    assert faults(NODE, {"metadata": {"name": "n", "namespace": "x"}}) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]


@pytest.mark.parametrize("change, fault", [
    ({"uid": "v"}, 'metadata.uid: Invalid value: "v": field is immutable'),
    ({"name": "b"}, 'metadata.name: Invalid value: "b": field is immutable'),
    ({"resourceVersion": ""}, 'metadata.resourceVersion: Invalid value: "": must be specified for an update'),
    ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, 'metadata.deletionTimestamp: Invalid value: "2026-01-01T00:00:00Z": field is immutable'),
    ({"labels": {"": "b"}}, None),
])  # fmt: skip
def test_metadata_of_a_changed_object(change, fault):
    found = update_faults(MAP, {**FINE, "metadata": {**FINE["metadata"], **change}}, FINE)
    assert found == [fault] if fault else found


def test_an_object_being_deleted_takes_no_more_finalizers():
    old = changed(FINE, metadata__deletionTimestamp="2026-01-01T00:00:00Z", metadata__finalizers=["example.com/a"])
    new = changed(old, metadata__finalizers=["example.com/a", "example.com/b"])
    (fault,) = update_faults(MAP, new, old)
    assert fault == (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers"
        ' []string{"example.com/b"}'
    )


def test_values_are_shown_as_upstream_shows_them():
    assert quote('a"\n\x00é') == '"a\\"\\n\\x00é"'
    assert invalid("f", {"a": [1, True]}, "no").message == 'Invalid value: {"a":[1,true]}: no'
    assert invalid("f", True, "no").message == "Invalid value: true: no"
    assert not_supported("f", "x", ("a", "b")).message == 'Unsupported value: "x": supported values: "a", "b"'
