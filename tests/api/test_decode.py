"""Decoding in upstream's manner: its words for wrong types, unknown fields, nulls and canonical values."""

import pytest

from kobune.api.decode import check, strict_error, unknown_field
from kobune.api.errors import BadRequest
from kobune.api.schema import load_schemas


def schema(kind, group="", version="v1"):
    return load_schemas("1.36").of(group, version, kind)


def pod(**spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [], **spec}}


def checked(obj, *, group="", version="v1"):
    assert check(schema(obj["kind"], group, version), obj, kind=obj["kind"], version=version) == []
    return obj


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param(
            {"replicas": "three"},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            id="string-for-a-number",
        ),
        pytest.param(
            {"replicas": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            id="fraction-for-an-integer",
        ),
        pytest.param(
            {"replicas": 2**31},
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
            id="too-large-for-int32",
        ),
        pytest.param(
            {"template": {"spec": {"containers": [{}, {"env": [{"name": "A", "value": 1}]}]}}},
            "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value"
            " of type string",
            id="lists-add-no-index",
        ),
        pytest.param(
            {"template": {"metadata": {"labels": {"a": True}}}},
            "json: cannot unmarshal bool into Go struct field ObjectMeta.spec.template.metadata.labels of type string",
            id="maps-add-no-key",
        ),
        pytest.param(
            {"template": {"spec": {"containers": {}}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers"
            " of type []v1.Container",
            id="object-for-a-list",
        ),
        pytest.param(
            {"selector": []},
            "json: cannot unmarshal array into Go struct field DeploymentSpec.spec.selector of type v1.LabelSelector",
            id="list-for-a-struct",
        ),
        pytest.param(
            {"paused": "yes"},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
            id="string-for-a-bool",
        ),
        pytest.param(
            {"strategy": {"rollingUpdate": {"maxSurge": 0.5}}},
            "json: cannot unmarshal number 0.5 into Go struct field"
            " RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
            id="fraction-for-int-or-string",
        ),
        pytest.param(
            {"template": {"spec": {"overhead": {"cpu": "lots"}}}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            id="not-a-quantity",
        ),
        pytest.param(
            {"template": {"metadata": {"creationTimestamp": "today"}}},
            'parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse "today" as "2006"',
            id="not-a-time",
        ),
    ],
)
def test_a_wrong_type_is_refused_in_upstreams_words(spec, problem):
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    with pytest.raises(BadRequest) as refused:
        check(schema("Deployment", "apps"), deployment, kind="Deployment", version="v1")
    assert str(refused.value) == f'Deployment in version "v1" cannot be handled as a Deployment: {problem}'


def test_a_body_that_is_no_object_is_refused():
    with pytest.raises(BadRequest, match=r"json: cannot unmarshal array into Go value of type v1\.Pod"):
        check(schema("Pod"), [], kind="Pod", version="v1")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param("a!cd", "illegal base64 data at input byte 1", id="foreign-character"),
        pytest.param("YWJjZGU", "illegal base64 data at input byte 4", id="breaks-off"),
    ],
)
def test_bytes_must_be_base64(data, problem):
    secret = {"apiVersion": "v1", "kind": "Secret", "data": {"key": data}}
    with pytest.raises(BadRequest, match=problem):
        check(schema("Secret"), secret, kind="Secret", version="v1")


def test_unknown_fields_are_dropped_and_told_with_their_paths():
    obj = pod(colour="red", containers=[{"name": "a"}, {"name": "b", "env": [{"name": "A", "valeu": "1"}], "x": {}}])
    obj["metadata"]["label"] = {}
    obj["top"] = 1
    expected = ["metadata.label", "spec.containers[1].env[0].valeu", "spec.containers[1].x", "spec.colour", "top"]
    assert sorted(check(schema("Pod"), obj, kind="Pod", version="v1")) == sorted(expected)
    assert obj == pod(containers=[{"name": "a"}, {"name": "b", "env": [{"name": "A"}]}])


def test_unknown_fields_are_told_in_the_order_of_the_body():
    obj = {"kind": "Pod", "a": 1, "spec": {"b": 1, "containers": [{"c": 1}], "d": 1}, "e": 1}
    paths = check(schema("Pod"), obj, kind="Pod", version="v1")
    assert paths == ["a", "spec.b", "spec.containers[0].c", "spec.d", "e"]


def test_fields_differ_by_case():
    assert check(schema("Pod"), {"kind": "Pod", "Spec": {}}, kind="Pod", version="v1") == ["Spec"]


def test_no_more_than_a_hundred_unknown_fields_are_told():
    obj = {"kind": "Pod", **{f"f{i}": 1 for i in range(150)}}
    assert len(check(schema("Pod"), obj, kind="Pod", version="v1")) == 100
    assert obj == {"kind": "Pod"}


def test_strict_validation_has_upstreams_words():
    error = strict_error("Pod", "v1", [unknown_field("spec.colour"), unknown_field("top")])
    assert str(error) == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
        'unknown field "spec.colour", unknown field "top"'
    )


def test_nulls_are_as_if_not_given():
    assert checked(pod(nodeName=None, securityContext=None, volumes=None, hostNetwork=None)) == pod()


def test_null_elements_take_the_zero_value():
    obj = pod(containers=[{"name": "a", "args": ["x", None]}], nodeSelector={"a": None})
    assert checked(obj) == pod(containers=[{"name": "a", "args": ["x", ""]}], nodeSelector={"a": ""})


def test_empty_optional_lists_and_maps_vanish_and_empty_structs_stay():
    obj = pod(tolerations=[], nodeSelector={}, securityContext={}, volumes=[{"name": "t", "emptyDir": {}}])
    assert checked(obj) == pod(securityContext={}, volumes=[{"name": "t", "emptyDir": {}}])


def test_quantities_take_their_canonical_form():
    obj = pod(containers=[{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "pods": 3}}}])
    limits = checked(obj)["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "500m", "memory": "1Gi", "pods": "3"}


def test_times_take_their_canonical_form():
    obj = pod()
    obj["metadata"]["creationTimestamp"] = "2026-01-02T04:04:05.5+01:00"
    assert checked(obj)["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    lease = {"kind": "Lease", "spec": {"renewTime": "2026-01-02T03:04:05Z"}}
    checked(lease, group="coordination.k8s.io")
    assert lease["spec"]["renewTime"] == "2026-01-02T03:04:05.000000Z"


def test_free_form_values_are_left_alone():
    revision = {"kind": "ControllerRevision", "data": {"any": [None, {"x": {}}]}, "revision": 1}
    assert checked(dict(revision), group="apps") == revision


def test_types_that_contain_themselves_are_checked_to_the_bottom():
    definition = {"properties": {"a": {"properties": {"b": {"type": "string", "colour": "red"}}}}}
    crd = {
        "kind": "CustomResourceDefinition",
        "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": definition}}]},
    }
    paths = check(schema("CustomResourceDefinition", "apiextensions.k8s.io"), crd, kind="x", version="v1")
    assert paths == ["spec.versions[0].schema.openAPIV3Schema.properties.a.properties.b.colour"]
