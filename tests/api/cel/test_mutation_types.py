"""The types of mutations' expressions, and what is wrong with them; the answers are those of an upstream server."""

import pytest

from kobune.api.cel.environment import CelError
from kobune.api.cel.mutation_types import mutation_type

SEEN = ("object", "variables")


@pytest.mark.parametrize(("text", "kind"), [
    ("Object{}", "Object"),
    ("Object{spec: Object.spec{replicas: 3}}", "Object"),
    ("Object{spec: Object.metadata{a: 1}}", "Object"),
    ("Object{metadata: Object.metadata{labels: Object.metadata.labels{`a-b`: object.x}}}", "Object"),
    ("Object{a: google.protobuf.Int32Value{value: 1}}", "Object"),
    ("Object{?a: optional.none(), ?b: object[?'b']}", "Object"),
    ("object.kind == 'x' ? Object{} :\n  Object{spec: Object.spec{containers: [Object.spec.containers{name: 'a'}]}}", "Object"),
    ("Object.spec{}", "Object.spec"),
    ("Object{a: 1}.a", "dyn"),
    ("Object", "type(Object)"),
    ("object.spec", "dyn"),
    ("null", "null_type"),
    ('{"a": 1}', "map(string, int)"),
    ("[Object{}]", "list(Object)"),
    ('[JSONPatch{op: "add", path: "/" + jsonpatch.escapeKey("a/b"), value: Object.spec{a: 1}}]', "list(JSONPatch)"),
    ("[JSONPatch{op: object.a}] + []", "list(JSONPatch)"),
    ("object.a.map(x, JSONPatch{op: x})", "list(JSONPatch)"),
    ("has(object.a) ? [JSONPatch{}] : []", "list(JSONPatch)"),
    ("[]", "list(dyn)"),
])  # fmt: skip
def test_expressions_have_upstreams_types(text, kind):
    assert mutation_type(text, SEEN) == kind


@pytest.mark.parametrize(("text", "column", "why"), [
    ("Object{spec: Foo{}}", 17, "undeclared reference to 'Foo' (in container '')"),
    ("Object{spec: Object.spec{x: Bar.baz {}}}", 37, "undeclared reference to 'Bar.baz' (in container '')"),
    ("Object{a: nix}", 11, "undeclared reference to 'nix' (in container '')"),
    ('Object{"a": 2}', 8, "Syntax error: mismatched input '\"a\"' expecting {'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}"),
    ('[JSONPatch{opp: "add"}]', 15, "expected type of field 'opp' is '' but provided type is 'string'"),
    ("[JSONPatch{op: 1}]", 14, "expected type of field 'op' is 'string' but provided type is 'int'"),
    ('has(object.a) ? Object.b{} : "c"', 15,
     "found no matching overload for '_?_:_' applied to '(bool, Object.b, string)'"),
])  # fmt: skip
def test_mistakes_are_told_at_their_place_in_upstreams_words(text, column, why):
    with pytest.raises(CelError) as failure:
        mutation_type(text, SEEN)
    assert str(failure.value) == f"ERROR: <input>:1:{column}: {why}\n | {text}\n | {'.' * (column - 1)}^"
