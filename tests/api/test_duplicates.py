"""Fields given twice in a JSON body."""

import orjson
import pytest

from kobune.api.duplicates import duplicate_fields


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"a":1,"b":{"c":[{"d":1}]}}', [], id="none"),
        pytest.param(b'{"a":1,"a":2}', ["a"], id="at-the-top"),
        pytest.param(b'{"spec":{"c":[{"n":1},{"n":1,"n":2}]}}', ["spec.c[1].n"], id="in-a-list"),
        pytest.param(b'{"a":1,"a":2,"a":3,"b":0,"b":0}', ["a", "b"], id="each-path-once-in-order"),
        pytest.param(b'{"a" : 1,\n "a" : 2}', ["a"], id="whatever-the-spacing"),
        pytest.param(b'{"a":"x\\u003a","a":"y::"}', ["a"], id="colons-in-strings-do-not-hide-it"),
        pytest.param(b'{"a:b":"c:d","e":"\\u003a"}', [], id="colons-in-strings-are-no-fields"),
    ],
)
def test_duplicate_fields(body, expected):
    assert duplicate_fields(body, orjson.loads(body)) == expected


def test_no_more_than_a_hundred_are_told():
    body = b"{" + b",".join(b'"f%d":1,"f%d":2' % (i, i) for i in range(150)) + b"}"
    assert len(duplicate_fields(body, orjson.loads(body))) == 100
