import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.controlplane.controllers.job.indexes import format_indexes, parse_indexes


@pytest.mark.parametrize(
    ("indexes", "text"),
    [((), ""), ((3,), "3"), ((0, 1), "0,1"), ((0, 1, 2), "0-2"), ((1, 3, 4, 5, 7, 8), "1,3-5,7,8")],
)
def test_three_or_more_in_a_row_are_a_range(indexes, text):
    assert format_indexes(indexes) == text


@given(st.sets(st.integers(0, 300)))
def test_what_is_written_is_read_back(indexes):
    assert parse_indexes(format_indexes(indexes), 301) == indexes


def test_indexes_beyond_the_completions_are_dropped():
    assert parse_indexes("0-9,12", 5) == {0, 1, 2, 3, 4}
