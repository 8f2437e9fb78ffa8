import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.errors import BadRequest
from kobune.api.patch import merge


@pytest.mark.parametrize("document, patch, expected", [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"a": 1}, {"a": {"b": None, "c": 2}}, {"a": {"c": 2}}),
])  # fmt: skip
def test_the_examples_of_the_rfc(document, patch, expected):
    before = copy.deepcopy((document, patch))
    assert merge.apply(document, patch) == expected
    assert (document, patch) == before


@pytest.mark.parametrize("patch", [[], "a", 1, None, True])
def test_a_patch_is_an_object(patch):
    with pytest.raises(BadRequest):
        merge.apply({"a": 1}, patch)


documents = st.recursive(
    st.booleans() | st.integers(-5, 5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abc"), documents, max_size=3)


def difference(old, new):
    patch = {key: None for key in old if key not in new}
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            patch[key] = difference(old[key], value)
        elif key not in old or old[key] != value or type(old[key]) is not type(value):
            patch[key] = value
    return patch


@given(objects, objects)
def test_the_difference_of_two_documents_leads_from_one_to_the_other(old, new):
    assert merge.apply(old, difference(old, new)) == new


@given(objects, objects)
def test_applying_twice_changes_nothing_more(document, patch):
    once = merge.apply(document, patch)
    assert merge.apply(once, patch) == once
