import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.errors import BadRequest
from kobune.api.field_selectors import FieldRequirement, FieldSelector, escape, parse_fields, unescape


def test_field_selectors():
    selector = parse_fields("metadata.name==a,status.phase!=Failed")
    assert selector.requirements == (
        FieldRequirement("metadata.name", "=", "a"),
        FieldRequirement("status.phase", "!=", "Failed"),
    )
    assert selector.matches({"metadata.name": "a"})
    assert not selector.matches({"metadata.name": "a", "status.phase": "Failed"})
    assert parse_fields("").matches({})
    assert parse_fields(r"a=b\,c\=d\\").requirements == (FieldRequirement("a", "=", "b,c=d\\"),)


@pytest.mark.parametrize("text, message", [
    ("a", "invalid selector: 'a'; can't understand 'a'"),
    (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
    ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ("a=b=c", "invalid field selector: unescaped character in value: 61"),
])  # fmt: skip
def test_field_selectors_are_refused_in_upstreams_words(text, message):
    with pytest.raises(BadRequest) as failure:
        parse_fields(text)
    assert str(failure.value) == message


def test_what_a_field_must_be_is_known():
    assert parse_fields("spec.nodeName=n1").exact("spec.nodeName") == "n1"
    assert parse_fields("spec.nodeName!=n1").exact("spec.nodeName") is None


@given(st.text())
def test_field_values_round_trip(value):
    assert unescape(escape(value)) == value
    assert parse_fields(str(FieldSelector([FieldRequirement("a", "=", value)]))).matches({"a": value})
