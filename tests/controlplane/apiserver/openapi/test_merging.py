"""One OpenAPI v2 document of several servers."""

import orjson

from kobune.controlplane.apiserver.openapi.merging import Description, merged

PREFIX = "/apis/g/v1/"
KIND, OTHER_KIND = {"group": "", "kind": "A"}, {"group": "g", "kind": "A"}
GVK = "x-kubernetes-group-version-kind"


def path_to(name):
    return {"get": {"responses": {"200": {"schema": {"$ref": f"#/definitions/{name}"}}}}}


def document(paths, definitions, **more):
    return {"swagger": "2.0", "paths": paths, "definitions": definitions, **more}


def joined(own, *others):
    return merged(own, [Description(PREFIX, orjson.dumps(one)) for one in others])


OWN = document({"/api": path_to("A")}, {"A": {"type": "object", GVK: [KIND]}})


def test_only_what_lies_below_the_prefix_is_taken_with_what_it_needs():
    other = document(
        {PREFIX + "bs": path_to("B"), "/version": path_to("D")},
        {"B": {"properties": {"c": {"$ref": "#/definitions/C"}}}, "C": {"type": "string"}, "D": {"type": "string"}},
    )
    found = joined(OWN, other)
    assert sorted(found["paths"]) == ["/api", PREFIX + "bs"]
    assert sorted(found["definitions"]) == ["A", "B", "C"]


def test_another_definition_of_the_same_name_gets_a_number():
    first = document({PREFIX + "as": path_to("A")}, {"A": {"type": "string"}})
    second = document({PREFIX + "more": path_to("A")}, {"A": {"type": "integer"}})
    third = document({PREFIX + "again": path_to("A")}, {"A": {"type": "string"}})
    found = joined(OWN, first, second, third)
    assert found["definitions"]["A_v2"] == {"type": "string"}
    assert found["definitions"]["A_v3"] == {"type": "integer"}
    assert found["paths"][PREFIX + "as"] == found["paths"][PREFIX + "again"] == path_to("A_v2")
    assert found["paths"][PREFIX + "more"] == path_to("A_v3")
    assert found["paths"]["/api"] == path_to("A")


def test_the_same_definition_is_for_the_kinds_of_both():
    other = document({PREFIX + "as": path_to("A")}, {"A": {"type": "object", GVK: [KIND, OTHER_KIND]}})
    assert joined(OWN, other)["definitions"] == {"A": {"type": "object", GVK: [KIND, OTHER_KIND]}}


def test_parameters_are_renamed_as_definitions_are():
    own = document({}, {}, parameters={"p": {"type": "string"}})
    other = document(
        {PREFIX + "as": {"parameters": [{"$ref": "#/parameters/p"}]}}, {}, parameters={"p": {"type": "integer"}}
    )
    found = joined(own, other)
    assert found["parameters"] == {"p": {"type": "string"}, "p_v2": {"type": "integer"}}
    assert found["paths"][PREFIX + "as"]["parameters"] == [{"$ref": "#/parameters/p_v2"}]


def test_documents_that_make_no_sense_are_left_out():
    broken = Description(PREFIX, b"{"), Description(PREFIX, b"[]"), Description(PREFIX, b"{}")
    dangling = document({PREFIX + "as": path_to("Nobody")}, {})
    assert merged(OWN, [*broken, Description(PREFIX, orjson.dumps(dangling))]) == OWN


def test_a_definition_may_refer_to_itself():
    tree = {"properties": {"child": {"$ref": "#/definitions/Tree"}}}
    found = joined(OWN, document({PREFIX + "trees": path_to("Tree")}, {"Tree": tree}))
    assert found["definitions"]["Tree"] == tree
