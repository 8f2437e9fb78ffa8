"""The algebra of field sets, in the form in which they are stored."""

from hypothesis import given
from hypothesis import strategies as st

from kobune.api.apply.fieldset import (
    difference,
    excluding,
    field_set,
    intersection,
    is_field_set,
    only,
    paths,
    shown,
    union,
)

PATHS = st.lists(
    st.lists(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"1"']), min_size=1, max_size=3).map(tuple), max_size=6
).map(set)


@given(PATHS)
def test_field_sets_round_trip(wanted):
    assert set(paths(field_set(wanted))) == wanted
    assert is_field_set(field_set(wanted))


@given(PATHS, PATHS)
def test_the_algebra_is_that_of_sets_of_paths(one, other):
    a, b = field_set(one), field_set(other)
    assert set(paths(union(a, b))) == one | other
    assert set(paths(difference(a, b))) == one - other
    assert set(paths(intersection(a, b))) == one & other
    assert (a, b) == (field_set(one), field_set(other))


@given(PATHS, PATHS)
def test_subtrees_are_left_out_or_kept_whole(one, roots):
    def below(path):
        return any(path[: len(root)] == root for root in roots)

    tops = {root for root in roots if not any(root[: len(other)] == other for other in roots - {root})}
    assert set(paths(excluding(field_set(one), field_set(tops)))) == {path for path in one if not below(path)}
    assert set(paths(only(field_set(one), field_set(tops)))) == {path for path in one if below(path)}


def test_paths_read_like_selectors():
    path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', 'v:"x"', "i:0")
    assert shown(path) == '.spec.ports[containerPort=80,protocol="TCP"][="x"][0]'
