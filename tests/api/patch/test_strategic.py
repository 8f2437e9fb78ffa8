import copy
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.errors import BadRequest, Invalid
from kobune.api.patch import merge, strategic


@dataclass
class Shape:
    properties: dict = field(default_factory=dict)
    items: "Shape | None" = None
    additional: "Shape | None" = None
    patch_strategy: tuple = ()
    merge_key: str = ""


ELEMENT = Shape(
    properties={
        "tags": Shape(patch_strategy=("merge",)),
        "env": Shape(patch_strategy=("merge",), merge_key="name", items=Shape()),
    }
)
THING = Shape(properties={
    "keyed": Shape(patch_strategy=("merge",), merge_key="name", items=ELEMENT),
    "tags": Shape(patch_strategy=("merge",)),
    "plain": Shape(),
    "strategy": Shape(patch_strategy=("retainKeys",)),
    "whole": Shape(patch_strategy=("replace",)),
    "labels": Shape(additional=Shape()),
})  # fmt: skip


@pytest.mark.parametrize("document, patch, expected", [
    pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="fields-are-added"),
    pytest.param({"a": 1, "b": 2}, {"a": None}, {"b": 2}, id="null-removes"),
    pytest.param({}, {"a": None, "b": {"c": None, "d": 1}}, {"b": {"d": 1}}, id="unmatched-nulls-are-dropped"),
    pytest.param({"labels": {"a": "b"}}, {"labels": {"c": "d"}}, {"labels": {"a": "b", "c": "d"}}, id="maps-merge"),
    pytest.param({"plain": [1, 2]}, {"plain": [3]}, {"plain": [3]}, id="plain-lists-are-replaced"),
    pytest.param({"tags": [1, 2]}, {"tags": [2, 3]}, {"tags": [1, 2, 3]}, id="sets-are-united"),
    pytest.param({"keyed": [{"name": "a", "x": 1}]}, {"keyed": [{"name": "a", "y": 2}]},
                 {"keyed": [{"name": "a", "x": 1, "y": 2}]}, id="elements-merge-by-key"),
    pytest.param({"keyed": [{"name": "a"}]}, {"keyed": [{"name": "b", "x": None}]}, {"keyed": [{"name": "b"}, {"name": "a"}]}, id="new-elements-come-first"),
    pytest.param({"keyed": [{"name": "a", "env": [{"name": "e", "value": "1"}]}]},
                 {"keyed": [{"name": "a", "env": [{"name": "f", "value": "2"}]}]},
                 {"keyed": [{"name": "a", "env": [{"name": "f", "value": "2"}, {"name": "e", "value": "1"}]}]}, id="lists-within-elements"),
    pytest.param({"keyed": [{"name": "a"}, {"name": "b"}]}, {"keyed": [{"name": "a", "$patch": "delete"}]},
                 {"keyed": [{"name": "b"}]}, id="an-element-is-deleted"),
    pytest.param({"keyed": [{"name": "a"}]}, {"keyed": [{"name": "b"}, {"$patch": "replace"}]}, {"keyed": [{"name": "b"}]}, id="a-list-is-replaced"),
    pytest.param({"labels": {"a": "b"}}, {"labels": {"$patch": "replace", "c": "d"}}, {"labels": {"c": "d"}}, id="a-map-is-replaced"),
    pytest.param({"labels": {"a": "b"}}, {"labels": {"$patch": "delete"}}, {"labels": {}}, id="a-map-is-emptied"),
    pytest.param({}, {"labels": {"$patch": "delete"}}, {}, id="nothing-is-deleted"),
    pytest.param({}, {"keyed": [{"name": "a"}, {"name": "b", "$patch": "delete"}]}, {"keyed": [{"name": "a"}]}, id="no-directive-is-kept"),
    pytest.param({"tags": [1, 2, 3]}, {"$deleteFromPrimitiveList/tags": [1, 3]}, {"tags": [2]}, id="values-are-deleted"),
    pytest.param({"a": 1}, {"$deleteFromPrimitiveList/tags": [1]}, {"a": 1}, id="nothing-to-delete-from"),
    pytest.param({"strategy": {"type": "Rolling", "rolling": {"x": 1}}},
                 {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}, {"strategy": {"type": "Recreate"}}, id="retain-keys"),
    pytest.param({"whole": {"a": 1}}, {"whole": {"b": 2}}, {"whole": {"b": 2}}, id="replace-strategy"),
    pytest.param({"keyed": [{"name": "a"}, {"name": "x"}, {"name": "b"}]},
                 {"$setElementOrder/keyed": [{"name": "b"}, {"name": "a"}], "keyed": [{"name": "a", "v": 1}]},
                 {"keyed": [{"name": "x"}, {"name": "b"}, {"name": "a", "v": 1}]}, id="an-order-is-set"),
    pytest.param({"tags": [1, 2, 3]}, {"$setElementOrder/tags": [3, 4, 1], "$deleteFromPrimitiveList/tags": [2], "tags": [4]},
                 {"tags": [3, 4, 1]}, id="an-order-of-values-with-deletion"),
    pytest.param({"keyed": [{"name": "a"}]}, {"$setElementOrder/keyed": [{"name": "a"}]}, {"keyed": [{"name": "a"}]}, id="order-alone"),
    pytest.param({}, {"$setElementOrder/keyed": [{"name": "a"}]}, {}, id="order-of-nothing"),
    pytest.param({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}, id="another-type-replaces"),
])  # fmt: skip
def test_merging(document, patch, expected):
    before = copy.deepcopy((document, patch))
    assert strategic.apply(document, patch, THING) == expected
    assert (document, patch) == before


@pytest.mark.parametrize("document, patch, message", [
    ({}, [], r"^json: cannot unmarshal array into Go value of type map\[string\]interface {}$"),
    ({"labels": {}}, {"labels": {"$patch": "invent"}}, r"^unknown patch type: invent in map: map\[\$patch:invent\]$"),
    ({"keyed": [{"name": "a"}]}, {"keyed": [{"x": 1}]}, r"^map: map\[x:1\] does not contain declared merge key: name$"),
    ({"keyed": [{"name": "a"}]}, {"keyed": [{"$patch": "merge", "name": "a"}]}, "^merging lists cannot yet be specified in the patch$"),
    ({"tags": [1]}, {"$deleteFromPrimitiveList": [1]}, "^invalid patch format of primitive list$"),
    ({"strategy": {}}, {"strategy": {"$retainKeys": ["a"], "b": 1}}, "^invalid patch format of retainKeys$"),
    ({"strategy": {}}, {"strategy": {"$retainKeys": "a"}}, "^invalid patch format of retainKeys$"),
    ({"tags": [1]}, {"tags": ["a"]}, "^list element types are not identical"),
    ({"tags": [1, 2]}, {"$setElementOrder/tags": [1], "tags": [2]}, r"^The order in patch list:\n\[2\]\n doesn't match \$setElementOrder list:"),
])  # fmt: skip
def test_what_cannot_be_merged_is_refused(document, patch, message):
    with pytest.raises(BadRequest, match=message):
        strategic.apply(document, patch, THING)


def test_lists_of_lists_are_not_merged():
    with pytest.raises(Invalid):
        strategic.apply({"tags": [[1]]}, {"tags": [[2]]}, THING)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5),
    lambda inner: (
        st.lists(inner.filter(lambda value: value is not None), max_size=2)
        | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abc"), plain, max_size=3)


@given(objects, objects)
def test_without_keyed_lists_and_directives_it_is_a_merge_patch(document, patch):
    assert strategic.apply(document, patch, Shape()) == merge.apply(document, patch)


names = st.sampled_from("abcde")
elements = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"x": st.integers(0, 3)}),
    max_size=4,
    unique_by=lambda each: each["name"],
)


@given(elements, elements)
def test_every_element_of_both_is_there_once_and_the_patchs_order_holds(original, patch):
    merged = strategic.apply({"keyed": original}, {"keyed": patch}, THING)["keyed"]
    result = [each["name"] for each in merged]
    assert sorted(result) == sorted({each["name"] for each in original + patch})
    wanted = [each["name"] for each in patch]
    assert [name for name in result if name in wanted] == wanted
