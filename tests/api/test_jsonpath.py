"""JSONPath as columns and subresources of custom kinds use it."""

import pytest

from kobune.api.jsonpath import parse_path

DOCUMENT = {
    "kind": "Ship",
    "spec": {"a.b": 1, "crew": [{"name": "x", "age": 30}, {"name": "y", "age": 40}, {"name": "z"}], "sizes": [1, 2, 3]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".kind", ["Ship"]),
        ("$.kind", ["Ship"]),
        ("['kind']", ["Ship"]),
        (".spec['a.b']", [1]),
        (r".spec.a\.b", [1]),
        (".spec.sizes[0]", [1]),
        (".spec.sizes[-1]", [3]),
        (".spec.sizes[7]", []),
        (".spec.sizes[0:2]", [1, 2]),
        (".spec.sizes[::2]", [1, 3]),
        (".spec.sizes[*]", [1, 2, 3]),
        (".spec.crew[*].name", ["x", "y", "z"]),
        (".spec.crew.*.name", ["x", "y", "z"]),
        ("..name", ["x", "y", "z"]),
        ('.spec.crew[?(@.name=="y")].age', [40]),
        (".spec.crew[?(@.name == 'y')].age", [40]),
        (".spec.crew[?(@.age>=40)].name", ["y"]),
        (".spec.crew[?(@.age != 40)].name", ["x"]),
        (".spec.crew[?(@.age)].name", ["x", "y"]),
        (".spec.crew[?(@.name > 3)].name", []),
        (".spec.missing.deeper", []),
        ("", [DOCUMENT]),
    ],
)
def test_a_path_finds_values(path, found):
    assert parse_path(path).find(DOCUMENT) == found


@pytest.mark.parametrize("path", ["spec", ".spec[", ".spec]", ".crew[?(@.a=)]", ".", ".a..", "{.a}"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="unrecognized"):
        parse_path(path)
