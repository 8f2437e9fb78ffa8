from typing import Any

import pytest
from judge import changed, faults, kind_of, made, update_faults

DEFINITION = kind_of("CustomResourceDefinition", "apiextensions.k8s.io", namespaced=False)
SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}


def definition(schema: dict[str, Any], **version: Any) -> dict[str, Any]:
    body = {"spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}],
    }}  # fmt: skip
    return made(DEFINITION, body, name="things.example.com")


FINE = definition(SCHEMA)
AT = "spec.validation.openAPIV3Schema"


def field(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": keywords}}


def test_a_sound_definition_has_no_fault():
    assert faults(DEFINITION, FINE) == []
    assert update_faults(DEFINITION, FINE, FINE) == []


@pytest.mark.parametrize("change, expected", [
    ({"metadata__name": "thing.example.com"},
     ['metadata.name: Invalid value: "thing.example.com": must be spec.names.plural+"."+spec.group']),
    ({"spec__scope": "Galaxy"}, ['spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"']),
    ({"spec__versions__0__schema": None}, ["spec.versions[0].schema.openAPIV3Schema: Required value"]),
    ({"spec__names__kind": "Thing!", "spec__names__listKind": "ThingList"},
     ["spec.names.kind: Invalid value: \"Thing!\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower"
      " case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g."
      " 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"]),
    ({"spec__names__listKind": "Thing"}, ['spec.names.listKind: Invalid value: "Thing": kind and listKind may not be the same']),
    ({"spec__versions__0__additionalPrinterColumns": [{"name": "a", "type": "text", "jsonPath": ".a"}]},
     ['spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string']),
    ({"spec__versions__0__subresources": {"scale": {"specReplicasPath": ".size", "statusReplicasPath": ".status.size"}}},
     ['spec.subresources.scale.specReplicasPath: Invalid value: ".size": should be a json path under .spec']),
    ({"spec__conversion": {"strategy": "Webhook"}},
     ["spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
      "spec.conversion.conversionReviewVersions: Required value"]),
    ({"spec__versions__0__selectableFields": [{"jsonPath": ".spec.color"}]},
     ['spec.selectableFields[0].jsonPath: Invalid value: ".spec.color": is an invalid path: does not refer to a valid field: color']),
    ({"status__storedVersions": ["v0", "v1"]},
     ["status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage version, and must remain in"
      " spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions"]),
])  # fmt: skip
def test_faults_of_definitions(change: dict[str, Any], expected: list[str]):
    assert faults(DEFINITION, changed(FINE, **change)) == expected


@pytest.mark.parametrize("schema, expected", [
    ({"properties": {}}, [f"{AT}.type: Required value: must not be empty at the root"]),
    ({"type": "array", "items": {"type": "string"}}, [f'{AT}.type: Invalid value: "array": must be object at the root']),
    (field(), [f"{AT}.properties[a].type: Required value: must not be empty for specified object fields"]),
    (field(type="array"), [f"{AT}.properties[a].items: Required value: must be specified"]),
    (field(type="array", items={}), [f"{AT}.properties[a].items.type: Required value: must not be empty for specified array items"]),
    (field(type="text"), [f'{AT}.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object",'
                          ' "string"']),
    (field(type="string", anyOf=[{"type": "string"}]), [f"{AT}.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"]),
    (field(**{"x-kubernetes-int-or-string": True}, anyOf=[{"type": "integer"}, {"type": "string"}]), []),
    ({"type": "object", "oneOf": [{"required": ["a"]}, {"properties": {"b": {"minLength": 1}}}]},
     [f"{AT}.properties[b]: Required value: because it is defined in {AT}.oneOf[1].properties[b]"]),
    (field(type="string", uniqueItems=True),
     [f"{AT}.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"]),
    (field(type="string", default=1), [f'{AT}.properties[a].default: Invalid value: "integer":  in body must be of'
                                       ' type string: "integer"']),
    (field(type="object", default={"b": 1}), [f'{AT}.properties[a].default: Invalid value: {{"b":1}}: must not have unknown fields']),
    (field(type="string", **{"x-kubernetes-list-type": "set"}),
     [f'{AT}.properties[a].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified']),
    (field(type="array", items={"type": "object", "properties": {"k": {"type": "string"}}},
           **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
     [f"{AT}.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a"
      " default or be a required property"]),
    ({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
     [f"{AT}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly"
      " specified"]),
    (field(type="string", **{"x-kubernetes-validations": [{"rule": " "}]}),
     [f"{AT}.properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified"]),
    (field(type="string", pattern="("), None),
])  # fmt: skip
def test_faults_of_schemas(schema: dict[str, Any], expected: list[str] | None):
    found = faults(DEFINITION, definition(schema))
    if expected is None:
        assert [fault.partition(":")[0] for fault in found] == [f"{AT}.properties[a].pattern"]
    else:
        assert found == expected


def test_versions_that_differ_are_named():
    second = {"name": "v2", "served": True, "schema": {"openAPIV3Schema": {"properties": {}}}}
    obj = changed(FINE, spec__versions__1=second)
    assert faults(DEFINITION, obj) == [
        "spec.versions[1].schema.openAPIV3Schema.type: Required value: must not be empty at the root"
    ]


def test_an_established_definition_keeps_its_scope():
    known = changed(FINE, status__conditions=[{"type": "Established", "status": "True"}])
    assert update_faults(DEFINITION, changed(known, spec__scope="Cluster"), known) == [
        'spec.scope: Invalid value: "Cluster": field is immutable'
    ]
    assert update_faults(DEFINITION, changed(FINE, spec__scope="Cluster"), FINE) == []


def test_groups_of_the_community_need_approval():
    obj = changed(FINE, spec__group="x.k8s.io", metadata__name="things.x.k8s.io")
    (fault,) = faults(DEFINITION, obj)
    assert fault.startswith("metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must")
    approved = changed(obj, metadata__annotations={"api-approved.kubernetes.io": "https://github.com/x"})
    assert faults(DEFINITION, approved) == []
