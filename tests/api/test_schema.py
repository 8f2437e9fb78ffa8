"""The schemas of a cluster version: shapes, references and merge rules."""

import subprocess
import sys

import pytest

from kobune.api.schema import Schema, load_schemas


def test_a_reference_has_the_shape_of_its_definition():
    pod = load_schemas("1.36").of("", "v1", "Pod")
    spec = pod.properties["spec"]
    assert spec.definition == "io.k8s.api.core.v1.PodSpec"
    assert spec.type == "object"
    assert spec.required == ("containers",)
    assert spec.properties["containers"].items is not None
    assert spec.properties["containers"].items.properties["image"].type == "string"


def test_what_stands_beside_a_reference_says_how_the_field_merges():
    spec = load_schemas("1.36").of("apps", "v1", "Deployment").properties["spec"]
    assert spec.properties["strategy"].patch_strategy == ("retainKeys",)
    assert spec.properties["strategy"].properties["type"].type == "string"


def test_lists_know_their_keys_and_strategies():
    spec = load_schemas("1.36").of("", "v1", "Pod").properties["spec"]
    containers, volumes = spec.properties["containers"], spec.properties["volumes"]
    assert (containers.patch_strategy, containers.merge_key) == (("merge",), "name")
    assert volumes.patch_strategy == ("merge", "retainKeys")
    assert containers.items is not None
    assert containers.items.properties["ports"].list_type == "map"
    assert containers.items.properties["ports"].list_keys == ("containerPort", "protocol")
    assert spec.properties["nodeSelector"].map_type == "atomic"


def test_quantities_and_int_or_strings_are_told_from_strings():
    schemas = load_schemas("1.36")
    limits = schemas.definition("io.k8s.api.core.v1.ResourceRequirements").properties["limits"]
    assert limits.additional is not None
    assert (limits.additional.type, limits.additional.format) == ("string", "quantity")
    port = schemas.definition("io.k8s.api.core.v1.ServicePort").properties["targetPort"]
    assert port.int_or_string


@pytest.mark.parametrize("minor", range(25, 38))
def test_every_version_has_schemas_for_the_kinds_that_never_change(minor):
    schemas = load_schemas(f"1.{minor}")
    for group, version, kind in [("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("policy", "v1", "Eviction")]:
        assert schemas.of(group, version, kind).properties["metadata"].definition.endswith("ObjectMeta")


def test_a_version_without_schemas_is_refused():
    with pytest.raises(LookupError, match=r"no schemas for Kubernetes 1\.99"):
        load_schemas("1.99")


def test_an_unknown_kind_is_not_found():
    schemas = load_schemas("1.36")
    assert schemas.find("", "v1", "Ship") is None
    with pytest.raises(KeyError):
        schemas.of("", "v1", "Ship")


def test_nodes_are_made_once():
    schemas = load_schemas("1.36")
    assert schemas.of("", "v1", "Pod") is schemas.of("", "v1", "Pod")
    assert schemas.of("", "v1", "Pod").properties["spec"] is schemas.of("", "v1", "Pod").properties["spec"]


def test_descriptions_come_when_asked_for():
    assert load_schemas("1.36").of("", "v1", "Pod").properties["spec"].properties["nodeName"].description == ""
    described = load_schemas("1.36", described=True).of("", "v1", "Pod")
    assert "node" in described.properties["spec"].properties["nodeName"].description


def test_a_custom_kind_is_the_same_class():
    schema = Schema(
        {
            "type": "object",
            "properties": {
                "port": {"x-kubernetes-int-or-string": True},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "size": {"type": "integer", "default": 3, "nullable": True},
            },
        }
    )
    fields = schema.properties
    assert fields["port"].int_or_string
    assert fields["labels"].additional is not None
    assert fields["free"].preserve_unknown
    assert (fields["size"].default, fields["size"].nullable) == (3, True)


def test_the_packages_own_code_is_never_loaded():
    code = "import sys; from kobune.api.schema import load_schemas; load_schemas('1.36'); print('kubernetes_validate' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
