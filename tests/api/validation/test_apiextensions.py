"""CustomResourceDefinitions. Source: upstream apiextensions-apiserver, pkg/apis/apiextensions/validation."""

from typing import Any

import pytest

from kobune.api.catalogue import find_builtin
from kobune.api.copying import clone
from kobune.api.defaulting import apply_defaults
from kobune.api.validation import validate_create, validate_update

KIND = find_builtin("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
OBJECT = {"type": "object"}


def definition(schema: Any = None, **version: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ships.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"kind": "Ship", "plural": "ships"},
            "versions": [
                {
                    "name": "v1", "served": True, "storage": True,
                    "schema": {"openAPIV3Schema": OBJECT if schema is None else schema}, **version,
                }
            ],
        },
    }  # fmt: skip
    assert KIND is not None
    apply_defaults(KIND, made)
    return made


def faults(made: dict[str, Any]) -> list[str]:
    assert KIND is not None
    return [f"{one.field}: {one.message}" for one in validate_create(KIND, made)]


def spec_of(schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": schema}}


SCHEMA = "spec.validation.openAPIV3Schema"


def test_a_plain_definition_is_fine() -> None:
    assert faults(definition()) == []


@pytest.mark.parametrize(
    "schema, fault",
    [
        ({"properties": {}}, f"{SCHEMA}.type: Required value: must not be empty at the root"),
        ({"type": "array", "items": OBJECT}, f'{SCHEMA}.type: Invalid value: "array": must be object at the root'),
        (spec_of({}), f"{SCHEMA}.properties[spec].type: Required value: must not be empty for specified object fields"),
        (
            spec_of({"type": "array"}),
            f"{SCHEMA}.properties[spec].items: Required value: must be specified",
        ),
        (
            spec_of({"type": "object", "anyOf": [{"type": "object"}]}),
            f"{SCHEMA}.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": OBJECT}}}},
            f"{SCHEMA}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, "
            "but metadata is implicitly specified",
        ),
        (
            spec_of({"type": "string", "pattern": "("}),
            f'{SCHEMA}.properties[spec].pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: ',
        ),
        (spec_of({"type": "object", "$ref": "#/x"}), f"{SCHEMA}.properties[spec].$ref: Forbidden: $ref is not supported"),
        (
            spec_of({"type": "array", "items": OBJECT, "x-kubernetes-list-type": "map"}),
            f"{SCHEMA}.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if "
            "x-kubernetes-list-type is map",
        ),
        (
            spec_of({"type": "object", "properties": {"a": OBJECT}, "additionalProperties": OBJECT}),
            f"{SCHEMA}.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            {"type": "object", "properties": {"spec": {"type": "object", "properties": {"b": {"type": "string"}}, "x-kubernetes-validations": [{"rule": "self.a"}]}}},
            f"{SCHEMA}.properties[spec].x-kubernetes-validations[0].rule: Invalid value: ",
        ),
    ],
)  # fmt: skip
def test_what_a_schema_must_not_be(schema: Any, fault: str) -> None:
    found = faults(definition(schema))
    assert any(one.startswith(fault) for one in found), found


def test_int_or_string_has_its_pattern() -> None:
    either = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert faults(definition(spec_of(either))) == []


def test_names_scope_and_versions_are_checked() -> None:
    made = definition()
    made["spec"] |= {"group": "example", "scope": "World"}
    made["spec"]["names"] |= {"plural": "Ships", "listKind": "Ship"}
    made["spec"]["versions"][0] |= {"name": "V1", "storage": False}
    found = "\n".join(faults(made))
    for words in (
        'must be spec.names.plural+"."+spec.group', "should be a domain with at least one dot",
        'spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"',
        "spec.versions[0].name: Invalid value", "must have exactly one version marked as storage version",
        'spec.names.plural: Invalid value: "Ships"', "kind and listKind may not be the same",
    ):  # fmt: skip
        assert words in found


def test_subresources_columns_and_selectable_fields_are_checked() -> None:
    made = definition(
        spec_of({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}}}),
        subresources={"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": ""}},
        additionalPrinterColumns=[{"name": "", "type": "list", "jsonPath": "spec"}],
        selectableFields=[{"jsonPath": ".spec.list"}, {"jsonPath": ".spec.nothing"}],
    )
    found = "\n".join(faults(made))
    for words in (
        'spec.subresources.scale.specReplicasPath: Invalid value: ".status.x": should be a json path under .spec',
        "spec.subresources.scale.statusReplicasPath: Required value",
        "spec.additionalPrinterColumns[0].name: Required value",
        "spec.additionalPrinterColumns[0].type: Invalid value: \"list\": must be one of boolean,date,integer,number,string",
        "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
        "spec.selectableFields[0].jsonPath: Invalid value: \".spec.list\": must point to a field of type string",
        "spec.selectableFields[1].jsonPath: Invalid value: \".spec.nothing\": is an invalid path",
    ):  # fmt: skip
        assert words in found


def test_groups_of_kubernetes_need_approval() -> None:
    made = definition()
    made["metadata"]["name"], made["spec"]["group"] = "ships.sea.k8s.io", "sea.k8s.io"
    assert "protected groups must have approval annotation" in faults(made)[0]
    made["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    assert faults(made) == []


def test_an_established_definition_keeps_its_kind_and_scope() -> None:
    old = definition()
    old["metadata"]["resourceVersion"] = "1"
    old["status"] = {"storedVersions": ["v1"], "conditions": [{"type": "Established", "status": "True"}]}
    new = clone(old)
    new["spec"]["scope"], new["spec"]["names"]["kind"] = "Cluster", "Boat"
    assert KIND is not None
    assert [one.field for one in validate_update(KIND, new, old)] == ["spec.scope", "spec.names.kind"]


def test_a_stored_version_stays_until_nothing_is_stored_in_it() -> None:
    old = definition()
    old["metadata"]["resourceVersion"] = "1"
    new = clone(old)
    new["spec"]["versions"][0]["name"] = "v2"
    new["status"]["storedVersions"] = ["v1", "v2"]
    assert KIND is not None
    assert (
        "missing from spec.versions; v1 was previously a storage version" in validate_update(KIND, new, old)[0].message
    )


def test_a_webhook_for_conversion_has_an_address() -> None:
    made = definition()
    made["spec"]["conversion"] = {
        "strategy": "Webhook", "webhook": {"clientConfig": {"url": "http://x"}, "conversionReviewVersions": ["v9"]}
    }  # fmt: skip
    found = faults(made)
    assert "'https' is the only allowed URL scheme" in found[0]
    assert "must include at least one of v1, v1beta1" in found[1]
