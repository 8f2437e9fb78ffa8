"""What the functions that Kubernetes adds to CEL give, where the engine has them differently or not at all."""

import pytest

from kobune.api.cel.authorizer import Told, deciding, with_request
from kobune.api.cel.environment import CelError, Checker, evaluator
from kobune.api.cel.library import authorizer_value


def value(text, **values):
    one = evaluator(*values)
    return one.compile(text).run(one.activation(values))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[1, 2, 1].indexOf(1)", 0),
        ("[1, 2, 1].lastIndexOf(1)", 2),
        ("[{'a': 1}, 'b'].indexOf('b')", 1),
        ("['a'].indexOf('z')", -1),
        ("'abcb'.indexOf('b')", 1),
        ("'abcb'.indexOf('b', 2)", 3),
        ("'abcb'.lastIndexOf('b')", 3),
        ("'abcb'.lastIndexOf('b', 2)", 1),
        ("{'a': 1}.transformMap(k, v, v + 1)", {"a": 2}),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, k)", {"b": "b"}),
        ("['x', 'y'].transformMap(i, v, v)", {0: "x", 1: "y"}),
        ("{'a': 1}.transformMapEntry(k, v, {v: k})", {1: "a"}),
        ("['x', 'y'].transformMapEntry(i, v, {v: i})", {"x": 0, "y": 1}),
        ("format.uuid().validate('x').value()", ["does not match the UUID format"]),
        ("format.dns1123Label().validate('a').hasValue()", False),
        ("cel.bind(label, format.dns1123Label(), ['a', '(b)'].map(x, label.validate(x).hasValue()))", [False, True]),
        ("format.named('date').value().validate('never').orValue([])", ["invalid date"]),
        ("format.named('nothing').hasValue()", False),
        ("'.validate(' + ').indexOf('", ".validate().indexOf("),
    ],
)
def test_a_function_gives(text, expected):
    assert value(text) == expected


def test_types_are_checked_of_what_is_worded_otherwise():
    checker = Checker({})
    assert checker.type_of("[1].indexOf(1) == 0 && !format.uuid().validate('x').hasValue()") == "BOOL"
    with pytest.raises(CelError, match=r"1:12: found no matching overload for 'indexOf' applied to '\(string, int\)'"):
        checker.type_of("'a'.indexOf(1)")


def test_a_decision_tells_why():
    def decide(parts):
        if parts.get("group"):
            return Told(False, error="nobody to ask")
        return Told(parts["verb"] == "get", f"because of {parts['resource']}")

    def asked(text):
        with deciding(decide, {"resource": "pods"}):
            return value(with_request(text), authorizer=authorizer_value())

    check = "authorizer.group('').resource('pods').fieldSelector('spec.nodeName=a').labelSelector('a=b')"
    assert asked(f"{check}.check('get').allowed()") is True
    assert asked(f"{check}.check('list').reason()") == "because of pods"
    assert asked("authorizer.requestResource.check('get').errored()") is False
    assert asked("authorizer.group('apps').resource('x').check('get').error()") == "nobody to ask"
