"""Patterns in Go's dialect."""

import pytest

from kobune.api.go_regexp import compile_go


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^a$", "a", True),
        ("^a$", "a\n", False),
        (r"^a\$$", "a$", True),
        ("^[a$]+$", "a$", True),
        (r"^\d+$", "٣", False),
        ("^[[:alpha:]_]+$", "ab_", True),
        ("^[[:alpha:]_]+$", "ab1", False),
        ("^[[:digit:][:upper:]]+$", "A1", True),
        ("^[]a]+$", "]a", True),
        ("^[^]a]+$", "b", True),
        ("^[[a]+$", "[a", True),
        (r"a\z", "a\n", False),
        ("(?m)^a$", "a\nb", True),
        (r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$", "* * * * */5", True),
        ("(?P<x>a)b", "ab", True),
    ],
)
def test_a_pattern_means_what_it_means_in_go(pattern, text, found):
    assert (compile_go(pattern).search(text) is not None) == found


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[[:vowel:]]", "[a"])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match="error parsing regexp"):
        compile_go(pattern)
