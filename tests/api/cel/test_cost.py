"""What rules can cost at most: the factors by which upstream's server says that they exceed the budget."""

import pytest

from kobune.api.validation.definition_rules import check_rules

TEXT = {"type": "string"}
PROPERTIES = {
    "name": {"type": "string", "maxLength": 5000},
    "free": TEXT,
    "words": {"type": "array", "items": TEXT},
    "few": {"type": "array", "maxItems": 1000, "items": {"type": "string", "maxLength": 50}},
    "many": {"type": "array", "maxItems": 3000, "items": {"type": "integer"}},
    "labels": {"type": "object", "additionalProperties": TEXT},
    "kind": {"type": "string", "enum": ["abc", "de"]},
    "parts": {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": TEXT}}}},
}


def told(schema):
    errors = []
    check_rules(schema, "root", errors)
    return [(one.field, one.message.partition(" (try")[0].removeprefix("Forbidden: ")) for one in errors]


def factor(rule):
    """How many times the budget of one rule."""
    schema = {"type": "object", "properties": PROPERTIES, "x-kubernetes-validations": [{"rule": rule}]}
    told_of_rule = [message for field, message in told(schema) if field.endswith(".rule") and "estimated" in message]
    return told_of_rule[0].rpartition("factor of ")[2] if told_of_rule else ""


# Source: the answers of upstream's 1.36 server to definitions with these rules.
@pytest.mark.parametrize(
    "rule, expected",
    [
        ("self.words.all(w, w == 'a')", ""),
        ("self.words.all(w, self.words.all(v, v != w || v == 'x'))", "more than 100x"),
        ("self.few.all(w, self.few.exists(v, v == w))", "2.6x"),
        ("self.many.all(i, self.many.exists_one(j, i == j))", "3.6x"),
        ("self.many.all(i, self.many.all(j, i + j > 0 && i - j < 5))", "9.9x"),
        ("self.free.contains(self.name)", "62.9x"),
        ("!format.dns1123Label().validate(self.free).hasValue()", "1.006634x"),
        ("self.words.filter(w, w.startsWith('a')).map(x, x.upperAscii()).all(z, z.contains('bcd'))", "3.4x"),
        ("self.free.split(',').all(p, p.trim().size() > 0)", "2.0x"),
        (
            "self.few.join('-').contains('abcdefghijklmnop') && self.few.all(f, self.few.join(f).size() > 0)",
            "4.0x",
        ),
        ("self.few.all(f, self.few.indexOf(f) == self.few.lastIndexOf(f))", "4.2x"),
        ("self.many.map(i, [i, i + 1]).all(p, self.many.all(j, p[0] == j))", "5.4x"),
        ("lists.range(3).sortBy(e, -e) == [2, 1, 0] && [[1], [2]].flatten() == [1, 2]", ""),
        (
            "self.many.all(i, self.many.all(j, type(self.free) == string && self.free in ['a', 'b', 'c']"
            " && self.name in self.labels))",
            "24.3x",
        ),
    ],
)
def test_a_rule_costs_what_it_does_upstream(rule, expected):
    assert factor(rule) == expected


def test_rules_of_elements_cost_as_often_as_there_can_be_elements():
    rules = [{"rule": "self.matches('^abc$')"}]
    few = {
        "type": "array",
        "maxItems": 10,
        "items": {"type": "string", "maxLength": 10, "x-kubernetes-validations": rules},
    }
    many = {"type": "array", "items": {"type": "string", "x-kubernetes-validations": rules}}
    assert told({"type": "object", "properties": {"few": few}}) == []
    (rule, _), (_, contributed), (_, total) = told({"type": "object", "properties": {"many": many}})
    assert rule == "root.properties[many].items.x-kubernetes-validations[0].rule"
    assert contributed == "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    assert total.endswith("cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x")


def test_what_was_stored_with_costly_rules_may_stay():
    rule = "self.few.all(w, self.few.exists(v, v == w))"
    schema = {"type": "object", "properties": PROPERTIES, "x-kubernetes-validations": [{"rule": rule}]}
    errors = []
    check_rules(schema, "root", errors, is_unchanged=True)
    assert errors == []
