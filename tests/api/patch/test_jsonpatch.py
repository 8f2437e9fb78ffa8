import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.errors import BadRequest, Invalid, RequestEntityTooLarge
from kobune.api.patch import jsonpatch


@pytest.mark.parametrize("document, patch, expected", [
    ({}, [{"op": "add", "path": "/a", "value": 1}], {"a": 1}),
    ({"a": 1}, [{"op": "add", "path": "/a", "value": None}], {"a": None}),
    ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
    ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
    ({"a": [1]}, [{"op": "add", "path": "/a/-1", "value": 2}], {"a": [1, 2]}),
    ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
    ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
    ({"a": {"b": 1}}, [{"op": "replace", "path": "/a/b", "value": [2]}], {"a": {"b": [2]}}),
    ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 5}], {"a": [5, 2]}),
    ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
    ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "remove", "path": "/a/b"}], {"a": {}, "c": {"b": 1}}),
    ({"a/b": {"~": 1}}, [{"op": "replace", "path": "/a~1b/~0", "value": 2}], {"a/b": {"~": 2}}),
    ({"a": {"b": [1, True]}}, [{"op": "test", "path": "/a", "value": {"b": [1, True]}}], {"a": {"b": [1, True]}}),
    ({}, [{"op": "test", "path": "/a", "value": None}], {}),
])  # fmt: skip
def test_operations(document, patch, expected):
    before = copy.deepcopy((document, patch))
    assert jsonpatch.apply(document, patch) == expected
    assert (document, patch) == before


@pytest.mark.parametrize("document, operation", [
    ({"a": 1}, {"op": "test", "path": "/a", "value": 2}),
    ({"a": 1}, {"op": "test", "path": "/a", "value": True}),
    ({}, {"op": "add", "path": "/a/b", "value": 1}),
    ({"a": 1}, {"op": "add", "path": "/a/b", "value": 1}),
    ({}, {"op": "remove", "path": "/a"}),
    ({}, {"op": "replace", "path": "/a", "value": 1}),
    ({"a": []}, {"op": "add", "path": "/a/1", "value": 1}),
    ({"a": []}, {"op": "remove", "path": "/a/x"}),
    ({}, {"op": "move", "from": "/a", "path": "/b"}),
    ({}, {"op": "add", "path": "", "value": {}}),
    ({}, {"op": "invent", "path": "/a"}),
    ({}, {"path": "/a"}),
    ({}, {"op": "add", "value": 1}),
])  # fmt: skip
def test_what_does_not_apply_is_refused_as_invalid(document, operation):
    with pytest.raises(Invalid, match="the server rejected our request due to an error in our request") as failure:
        jsonpatch.apply(document, [operation])
    assert str(failure.value.__cause__)


def test_a_patch_is_a_list_of_objects_of_bounded_length():
    with pytest.raises(BadRequest, match=r"^json: cannot unmarshal object into Go value of type jsonpatch\.Patch$"):
        jsonpatch.apply({}, {})
    with pytest.raises(BadRequest, match=r"^json: cannot unmarshal string into Go value of type jsonpatch\.Operation$"):
        jsonpatch.apply({}, ["add"])
    with pytest.raises(RequestEntityTooLarge, match="maximum operations in a JSON patch is 10000, got 10001"):
        jsonpatch.apply({"a": 1}, [{"op": "test", "path": "/a", "value": 1}] * 10_001)


def test_unknown_fields_of_operations_are_named():
    assert jsonpatch.unknown_fields([{"op": "add"}, {"op": "add", "valeu": 1}]) == ["[1].valeu"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~b", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("a/~b", max_size=2), json_values, max_size=3), st.text(max_size=3), json_values)
def test_what_was_added_is_found_and_can_be_removed(document, key, value):
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = jsonpatch.apply(
        document, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    )
    assert added == {**document, key: value}
    assert jsonpatch.apply(added, [{"op": "remove", "path": path}]) == {k: v for k, v in document.items() if k != key}


def test_copies_that_double_again_and_again_are_stopped():
    """A few lines must not fill the memory."""
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{number}"} for number in range(40)]
    with pytest.raises(Invalid) as refusal:
        jsonpatch.apply({"a": {"x": "y" * 1000}}, doubling)
    assert "exceeding the limit 3145728" in str(refusal.value.__cause__)
