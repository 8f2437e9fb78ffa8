"""Custom objects against their schema: pruning, defaulting and upstream's words for what is wrong."""

import pytest

from kobune.api.schema import Schema
from kobune.api.structural import apply_defaults, custom_schema, prune
from kobune.api.structural_checks import StructuralChecks


def of_spec(**fields):
    return Schema({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}})


def ship(**spec):
    return {"apiVersion": "example.com/v1", "kind": "Ship", "metadata": {"name": "maru"}, "spec": spec}


def errors(obj, schema):
    return [f"{error.field}: {error.message}" for error in StructuralChecks(schema).errors(obj)]


def spec_errors(schema, value):
    return errors(ship(it=value), of_spec(it=schema))


# Pruning.


def test_fields_without_a_schema_go_and_are_told():
    obj = {**ship(sails=1, colour="red", crew=[{"name": "x", "rank": 1}]), "top": 1}
    crew = {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}}
    assert prune(obj, of_spec(sails={"type": "integer"}, crew=crew)) == ["spec.colour", "spec.crew[0].rank", "top"]
    assert obj == ship(sails=1, crew=[{"name": "x"}])


def test_what_every_object_has_stays():
    obj = ship()
    del obj["spec"]
    assert prune(obj, Schema({"type": "object"})) == []
    assert obj == {"apiVersion": "example.com/v1", "kind": "Ship", "metadata": {"name": "maru"}}


def test_unknown_fields_stay_where_they_may_and_known_ones_are_pruned_inside():
    free = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"known": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    }
    obj = ship(free={"any": {"thing": 1}, "known": {"a": 1, "b": 2}})
    assert prune(obj, of_spec(free=free)) == ["spec.free.known.b"]
    assert obj == ship(free={"any": {"thing": 1}, "known": {"a": 1}})


def test_an_embedded_object_keeps_what_every_object_has():
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"data": {"type": "string"}}}
    obj = ship(inner={"apiVersion": "v1", "kind": "A", "metadata": {"name": "x"}, "data": "y", "more": 1})
    assert prune(obj, of_spec(inner=inner)) == ["spec.inner.more"]


def test_maps_keep_their_keys():
    labels = {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}}
    obj = ship(labels={"x": {"a": "1", "b": "2"}})
    assert prune(obj, of_spec(labels=labels)) == ["spec.labels.x.b"]


def test_a_version_without_a_schema_keeps_everything():
    obj = ship(any={"thing": [1]})
    assert prune(obj, custom_schema({"name": "v1"})) == []


# Defaulting.


def defaulted(value, **fields):
    obj = ship(**value)
    apply_defaults(obj, of_spec(**fields))
    return obj["spec"]


def test_missing_fields_take_their_default():
    fields = {"sails": {"type": "integer", "default": 3}, "deep": {
        "type": "object", "default": {}, "properties": {"a": {"type": "string", "default": "x"}}}}  # fmt: skip
    assert defaulted({}, **fields) == {"sails": 3, "deep": {"a": "x"}}
    assert defaulted({"sails": 0}, **fields)["sails"] == 0


def test_defaults_are_not_shared():
    schema = of_spec(crew={"type": "array", "default": [], "items": {"type": "string"}})
    first, second = ship(), ship()
    apply_defaults(first, schema)
    first["spec"]["crew"].append("x")
    apply_defaults(second, schema)
    assert second["spec"]["crew"] == []


def test_defaults_reach_into_lists_and_maps():
    item = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}
    fields = {"list": {"type": "array", "items": item}, "map": {"type": "object", "additionalProperties": item}}
    assert defaulted({"list": [{}], "map": {"x": {}}}, **fields) == {"list": [{"a": 1}], "map": {"x": {"a": 1}}}


def test_nulls_go_give_way_to_a_default_or_stay_where_they_may():
    fields = {
        "gone": {"type": "string"},
        "filled": {"type": "string", "default": "x"},
        "kept": {"type": "string", "nullable": True, "default": "x"},
    }
    assert defaulted({"gone": None, "filled": None, "kept": None}, **fields) == {"filled": "x", "kept": None}


# Faults.


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "integer"}, "x", 'Invalid value: "string": spec.it in body must be of type integer: "string"'),
        ({"type": "integer"}, 1.5, 'Invalid value: "number": spec.it in body must be of type integer: "number"'),
        ({"type": "string"}, True, 'Invalid value: "boolean": spec.it in body must be of type string: "boolean"'),
        ({"type": "object"}, [], 'Invalid value: "array": spec.it in body must be of type object: "array"'),
        ({"type": "string"}, None, 'Invalid value: "null": spec.it in body must be of type string: "null"'),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            'Invalid value: "boolean": spec.it in body must be of type integer,string: "boolean"',
        ),
        (
            {"type": "integer", "maximum": 10},
            11,
            "Invalid value: 11: spec.it in body should be less than or equal to 10",
        ),
        (
            {"type": "integer", "minimum": 1},
            0,
            "Invalid value: 0: spec.it in body should be greater than or equal to 1",
        ),
        (
            {"type": "number", "maximum": 1.5, "exclusiveMaximum": True},
            1.5,
            "Invalid value: 1.5: spec.it in body should be less than 1.5",
        ),
        ({"type": "integer", "multipleOf": 5}, 7, "Invalid value: 7: spec.it in body should be a multiple of 5"),
        ({"type": "string", "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
        (
            {"type": "string", "minLength": 2},
            "a",
            'Invalid value: "a": spec.it in body should be at least 2 chars long',
        ),
        ({"type": "string", "pattern": "^a+$"}, "b", "Invalid value: \"b\": spec.it in body should match '^a+$'"),
        (
            {"type": "string", "format": "date-time"},
            "x",
            'Invalid value: "x": spec.it in body must be of type date-time: "x"',
        ),
        (
            {"type": "string", "enum": ["a", "b"]},
            "c",
            'Unsupported value: "c": supported values: "a", "b"',
        ),
        ({"type": "array", "maxItems": 1}, [1, 2], "Too many: 2: must have at most 1 item"),
        ({"type": "array", "minItems": 2}, [1], "Invalid value: 1: spec.it in body should have at least 2 items"),
        ({"type": "object", "maxProperties": 1}, {"a": 1, "b": 2}, "Too many: 2: must have at most 1 item"),
        (
            {"type": "object", "minProperties": 1},
            {},
            "Invalid value: 0: spec.it in body should have at least 1 properties",
        ),
    ],
)
def test_a_fault_is_told_in_upstreams_words(schema, value, message):
    assert spec_errors(schema, value) == [f"spec.it: {message}"]


def test_what_fits_has_no_faults():
    schema = {
        "type": "object", "required": ["a"],
        "properties": {"a": {"type": "integer", "minimum": 1}, "b": {"type": "string", "nullable": True}},
    }  # fmt: skip
    assert spec_errors(schema, {"a": 1.0, "b": None}) == []
    assert spec_errors({"x-kubernetes-int-or-string": True}, "50%") == []


def test_faults_are_told_with_their_paths():
    crew = {
        "type": "array",
        "items": {"type": "object", "required": ["name"], "properties": {"age": {"type": "integer"}}},
    }
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    found = errors(ship(crew=[{"name": "x"}, {"age": "y"}], labels={"a": 1}), of_spec(crew=crew, labels=labels))
    assert found == [
        "spec.crew[1].name: Required value",
        'spec.crew[1].age: Invalid value: "string": spec.crew[1].age in body must be of type integer: "string"',
        'spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"',
    ]


def test_sets_hold_each_element_once():
    schema = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    assert spec_errors(schema, ["a", "b", "a", "a"]) == ['spec.it[2]: Duplicate value: "a"']


def test_lists_that_are_maps_hold_each_key_once():
    schema = {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"],
        "items": {"type": "object"},
    }  # fmt: skip
    value = [{"name": "a", "port": 1}, {"name": "a", "port": 2}, {"name": "a", "port": 1, "more": True}]
    assert spec_errors(schema, value) == ['spec.it[2]: Duplicate value: {"name":"a","port":1}']


def test_compositions_say_what_was_not_met():
    digits, word = {"type": "string", "pattern": "^[0-9]+$"}, {"type": "string", "pattern": "^[a-z]+$"}
    assert spec_errors({"anyOf": [digits, word]}, "a") == []
    assert spec_errors({"anyOf": [digits, word]}, "A")[0] == (
        '<nil>: Invalid value: "": "spec.it" must validate at least one schema (anyOf)'
    )
    assert spec_errors({"oneOf": [digits, digits]}, "1") == [
        '<nil>: Invalid value: "": "spec.it" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    assert spec_errors({"oneOf": [digits, word]}, "A")[0].endswith("(oneOf). Found none valid")
    assert spec_errors({"not": digits}, "1") == [
        '<nil>: Invalid value: "": "spec.it" must not validate the schema (not)'
    ]
    assert spec_errors({"allOf": [digits, {"maxLength": 1}]}, "12") == [
        "spec.it: Too long: may not be more than 1 byte"
    ]


def test_an_embedded_object_says_what_it_is():
    schema = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    assert spec_errors(schema, {"kind": ""}) == [
        "spec.it.apiVersion: Required value",
        'spec.it.kind: Invalid value: "": must not be empty',
    ]
