import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.errors import BadRequest
from kobune.api.selectors import EVERYTHING, LabelSelector, Requirement, labels_from_json, labels_from_map, parse_labels


@pytest.mark.parametrize("text, matching, others", [
    ("", [{}, {"a": "b"}], []),
    ("a=b", [{"a": "b"}], [{}, {"a": "c"}]),
    ("a==b,c!=d", [{"a": "b"}, {"a": "b", "c": "x"}], [{"a": "b", "c": "d"}]),
    ("a", [{"a": ""}], [{}]),
    ("!a", [{}, {"b": "c"}], [{"a": ""}]),
    ("a in (b, c)", [{"a": "b"}, {"a": "c"}], [{}, {"a": "d"}]),
    ("a notin (b,c)", [{}, {"a": "d"}], [{"a": "b"}]),
    ("a in (,b)", [{"a": ""}, {"a": "b"}], [{"a": "c"}]),
    ("a in ()", [{"a": ""}], [{"a": "c"}]),
    ("a=", [{"a": ""}], [{}, {"a": "c"}]),
    ("a>3", [{"a": "4"}], [{}, {"a": "3"}, {"a": "x"}]),
    ("a<3", [{"a": "-1"}], [{}, {"a": "3"}]),
    ("in in (in, notin),notin", [{"in": "in", "notin": ""}], [{"in": "a", "notin": ""}]),
    ("  example.com/a  =  b ,  c", [{"example.com/a": "b", "c": ""}], [{"c": ""}]),
])  # fmt: skip
def test_label_selectors_match(text, matching, others):
    selector = parse_labels(text)
    assert all(selector.matches(labels) for labels in matching)
    assert not any(selector.matches(labels) for labels in others)


KEY_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
    " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize("text, message", [
    ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    ("a,,b", "found ',', expected: identifier after ','"),
    ("a,", "found '', expected: identifier after ','"),
    ("=b", "found '=', expected: !, identifier, or 'end of string'"),
    ("a in b", "unable to parse requirement: found 'b' expected: '('"),
    ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
    ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    ("a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer"),
    ("-a", f'unable to parse requirement: <nil>: Invalid value: "-a": {KEY_TEXT}'),
])  # fmt: skip
def test_label_selectors_are_refused_in_upstreams_words(text, message):
    with pytest.raises(BadRequest) as failure:
        parse_labels(text)
    assert str(failure.value) == message


def test_a_selector_in_a_spec():
    assert not labels_from_json(None).matches({})
    assert labels_from_json({}).matches({"a": "b"})
    selector = labels_from_json({
        "matchLabels": {"a": "b"},
        "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}, {"key": "e", "operator": "Exists"}],
    })  # fmt: skip
    assert selector.matches({"a": "b", "e": ""})
    assert not selector.matches({"a": "b", "e": "", "c": "d"})
    assert str(selector) == "a=b,c notin (d),e"
    with pytest.raises(BadRequest, match='"Near" is not a valid label selector operator'):
        labels_from_json({"matchExpressions": [{"key": "c", "operator": "Near"}]})


def test_an_exact_value_can_be_asked_for():
    assert parse_labels("a in (b),c").exact("a") == "b"
    assert parse_labels("a in (b,d),c").exact("a") is None


words = st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True)
integers = st.integers(-(10**6), 10**6).filter(lambda number: number >= 0).map(str)
requirements = st.one_of(
    st.builds(lambda key, operator, value: Requirement(key, operator, (value,)), words, st.sampled_from(["=", "==", "!="]), words | st.just("")),
    st.builds(lambda key, operator, values: Requirement(key, operator, tuple(sorted(values))), words, st.sampled_from(["in", "notin"]), st.sets(words | st.just(""), min_size=1)),
    st.builds(lambda key, operator: Requirement(key, operator), words, st.sampled_from(["exists", "!"])),
    st.builds(lambda key, operator, value: Requirement(key, operator, (value,)), words, st.sampled_from(["gt", "lt"]), integers),
)  # fmt: skip


@given(st.lists(requirements, max_size=4))
def test_label_selectors_round_trip(wanted):
    selector = LabelSelector(wanted)
    assert parse_labels(str(selector)) == selector


@given(st.dictionaries(words, words, max_size=3), st.dictionaries(words, words, max_size=3))
def test_every_way_to_ask_for_equality_agrees(wanted, labels):
    expected = wanted.items() <= labels.items()
    selectors = (
        labels_from_map(wanted),
        labels_from_json({"matchLabels": wanted}),
        parse_labels(",".join(f"{key}={value}" for key, value in wanted.items())),
        parse_labels(",".join(f"{key} in ({value})" for key, value in wanted.items())),
    )
    assert {selector.matches(labels) for selector in selectors} == {expected}
    assert EVERYTHING.matches(labels)
