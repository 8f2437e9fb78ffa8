"""x-kubernetes-validations. Source: upstream documentation, Validation rules; apiextensions-apiserver pkg/apiserver/schema/cel."""

from typing import Any

import pytest

from kobune.api.cel.rules import CelRules
from kobune.api.validation.definition_rules import check_rules

PROPERTIES: dict[str, Any] = {
    "least": {"type": "integer"},
    "most": {"type": "integer"},
    "name": {"type": "string", "maxLength": 253},
    "words": {"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 63}},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "port": {"x-kubernetes-int-or-string": True},
    "when": {"type": "string", "format": "date-time"},
    "wait": {"type": "string", "format": "duration"},
    "share": {"type": "number"},
    "a-b": {"type": "integer"},
    "namespace": {"type": "string"},
}
SPEC: dict[str, Any] = {
    "least": 3, "most": 2, "name": "x", "words": ["a"], "labels": {"a": "b"}, "port": 80,
    "when": "2020-01-01T00:00:00Z", "wait": "90s", "share": 1, "a-b": 4, "namespace": "ns",
}  # fmt: skip


def schema(rule: str, **more: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": PROPERTIES, "x-kubernetes-validations": [{"rule": rule, **more}]}
    return {"type": "object", "properties": {"spec": spec}}


def failures(rule: str, spec: Any = SPEC, old: Any = None, **more: Any) -> list[tuple[str, str]]:
    before = None if old is None else {"spec": old}
    return [(one.field, one.message) for one in CelRules(schema(rule, **more)).errors({"spec": spec}, before)]


def complaints(rule: str, **more: Any) -> list[str]:
    errors: list[Any] = []
    check_rules(schema(rule, **more), "root", errors)
    return [one.message for one in errors]


@pytest.mark.parametrize(
    "rule",
    [
        "self.most < self.least",
        "self.words.all(word, word.size() == 1) && self.words.exists_one(w, w == 'a')",
        "self.labels.all(key, value, key < value)",
        "self.port == 80 || self.port == 'http'",
        "self.when > timestamp('2019-12-31T00:00:00Z') && self.when.getFullYear() == 2020",
        "self.wait < duration('2m')",
        "self.share * 2.0 == 2.0",
        "self.a__dash__b == 4 && self.__namespace__ == 'ns'",
        "!has(self.nothing) || true",
        "quantity('1Gi').isGreaterThan(quantity('500M')) && !isQuantity('Three')",
        "quantity('1Ki').add(5).asInteger() == 1029 && quantity('-1').sign() == -1",
        "quantity('0.5').compareTo(quantity('500m')) == 0 && quantity('50k').sub(quantity('20k')).asInteger() == 30000",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
        "cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16')) && cidr('10.1.2.3/8').prefixLength() == 8",
        "ip('::1').isLoopback() && ip('1.2.3.4').family() == 4 && !isIP('1.2.3') && ip.isCanonical('::1')",
        "url('https://host:80/a?x=1').getHost() == 'host:80' && url('https://h/').getQuery() == {} && !isURL('a b')",
        "semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && semver('v1.2', true).minor() == 2 && !isSemver('1.2')",
        "'abc 123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2'] && 'a'.matches('^a$')",
        "[1, 3, 2].isSorted() == false && [1, 2].sum() == 3 && [2, 1].min() == 1 && [1.5, 2.5].max() == 2.5",
        "sets.contains(self.words, ['a']) && math.greatest(1, 2) == 2 && 'a-b'.replace('-', '.') == 'a.b'",
        "self.?labels[?'a'].orValue('') == 'b' && cel.bind(x, self.most, x == 2)",
        "[3, 1, 1].sort() == [1, 1, 3] && [1, 1].distinct() == [1] && [1, 2, 3].slice(1, 2) == [2] && [1, 2].reverse() == [2, 1]",
        "lists.range(3).sortBy(e, -e) == [2, 1, 0] && [[1], [2]].flatten() == [1, 2]",
        "5 < 10.0 && self.share < self.least && 2.5 >= self.most",
        "!format.dns1123Label().validate(self.name).hasValue() && format.uuid().validate('(x').hasValue()",
        "format.qualifiedName().validate('a b').value()[0].startsWith('name part must consist')",
        "'%d of %s'.format([self.most, self.name]) == '2 of x'",
    ],
)
def test_kubernetes_libraries_are_there(rule: str) -> None:
    if "nothing" not in rule:
        assert complaints(rule) == []
    assert failures(rule) == []


def test_a_failed_rule_is_told_as_its_author_wants() -> None:
    rule = "self.least <= self.most"
    assert failures(rule) == [("spec", "Invalid value: failed rule: self.least <= self.most")]
    assert failures(rule, message="too big") == [("spec", "Invalid value: too big")]
    assert failures(rule, message="too big", reason="FieldValueForbidden", fieldPath=".least") == [
        ("spec.least", "Forbidden: too big")
    ]
    assert failures(rule, messageExpression="'least is ' + string(self.least)") == [
        ("spec", "Invalid value: least is 3")
    ]


def test_a_rule_without_a_value_is_told_with_the_cause() -> None:
    assert failures("self.words[7] == 'a'") == [
        ("spec", "Invalid value: \"object\": index out of bounds: 7 evaluating rule: self.words[7] == 'a'")
    ]


def test_old_self_judges_changes_alone() -> None:
    rule = "self.least == oldSelf.least"
    assert failures(rule) == []
    assert failures(rule, old=SPEC) == []
    assert len(failures(rule, old={**SPEC, "least": 1})) == 1


def test_optional_old_self_may_be_absent() -> None:
    rule = "oldSelf.hasValue() || self.least == 1"
    assert len(failures(rule, optionalOldSelf=True)) == 1
    assert failures(rule, old={**SPEC, "least": 1}, optionalOldSelf=True) == []
    assert complaints(rule, optionalOldSelf=True) == []


def test_what_has_not_changed_may_stay() -> None:
    assert failures("self.least <= self.most", old=SPEC) == []
    assert len(failures("self.least <= self.most", old={**SPEC, "name": "y"})) == 1


def test_mistakes_are_found_when_the_rule_is_written() -> None:
    assert (
        "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo == 1\n | ....^"
        in complaints("self.foo == 1")[0]
    )
    assert "found no matching overload for '_>_' applied to '(string, int)'" in complaints("self.name > 3")[0]
    assert complaints("self.name")[0].endswith("cel expression must evaluate to a bool")
    assert (
        "<input>:1:30: undefined field 'mix'\n | oldSelf.hasValue() ? oldSelf.mix"
        not in complaints("oldSelf.hasValue() && oldSelf.value().mix == 1", optionalOldSelf=True)[0]
    )
    assert complaints("true", optionalOldSelf=True)[0].endswith("may not be set if oldSelf is not used in rule")
    assert complaints("true", messageExpression="1")[0].endswith("messageExpression must evaluate to a string")


def test_old_self_cannot_stand_where_elements_cannot_be_told_apart() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    errors: list[Any] = []
    check_rules({"type": "object", "properties": {"list": {"type": "array", "items": item}}}, "root", errors)
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema" in errors[0].message


def test_elements_of_a_map_list_are_compared_with_what_they_were() -> None:
    element = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "size": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]},
        },
    }
    rules = CelRules(
        {
            "type": "object",
            "properties": {
                "list": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": element,
                }
            },
        }
    )  # fmt: skip
    old = {"list": [{"name": "a", "size": 1}, {"name": "b", "size": 5}]}
    found = rules.errors({"list": [{"name": "b", "size": 2}, {"name": "a", "size": 1}]}, old)
    assert [one.field for one in found] == ["list[0].size"]


UNBOUNDED: dict[str, Any] = {"words": {"type": "array", "items": {"type": "string"}}, "text": {"type": "string"}}


def run_unbounded(spec: Any, *rules: str) -> list[str]:
    validations = [{"rule": rule} for rule in rules]
    node = {"type": "object", "properties": UNBOUNDED, "x-kubernetes-validations": validations}
    found = CelRules({"type": "object", "properties": {"spec": node}}).errors({"spec": spec}, None)
    return [one.message for one in found]


@pytest.mark.parametrize(
    "rule, spec",
    [
        pytest.param(
            "self.words.all(w, self.words.all(v, v != w || v == w))", {"words": ["a"] * 500}, id="goes through too much"
        ),
        pytest.param("self.words.map(w, self.text + self.text).size() > 0", {"words": ["a"] * 99, "text": "x" * 200_000},
                     id="would fill the memory"),
    ],
)  # fmt: skip
def test_a_rule_that_costs_too_much_is_cut_off_and_none_follows(rule: str, spec: Any) -> None:
    (told,) = run_unbounded(spec, rule, "false")
    assert told == (
        "Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be "
        f"run due to call cost exceeds limit for rule: {rule}"
    )


def test_all_rules_of_an_object_have_one_budget() -> None:
    rule = "self.words.map(w, self.text + self.text).size() > 0"
    told = run_unbounded({"words": ["a"] * 90, "text": "x" * 50_000}, *[rule] * 20)
    assert told == [
        'Invalid value: "object": validation failed due to running out of cost budget, no further validation rules will be run'
    ]
