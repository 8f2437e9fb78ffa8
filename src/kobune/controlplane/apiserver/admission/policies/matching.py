"""Which requests a policy or a binding concerns. Source: upstream admission/plugin/policy/matching."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.selectors import LabelSelector, labels_from_json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.webhooks.matching import Rule, rule_of


class NamedRule(NamedTuple):
    rule: Rule
    names: frozenset[str]  # Of the objects; empty: all.

    def matches(self, operation: str, kind: Kind, subresource: str, name: str) -> bool:
        return self.rule.matches(operation, kind, subresource) and (not self.names or name in self.names)


class Match(NamedTuple):
    """A MatchResources."""

    rules: Sequence[NamedRule]
    excluded: Sequence[NamedRule]
    namespaces: LabelSelector
    objects: LabelSelector
    equivalent: bool

    def version_for(self, attributes: Attributes, kinds: Iterable[Kind], labels: dict[str, str] | None) -> Kind | None:
        """The version in which the object is judged; None when it is not. Without rules every version will do."""
        if labels is not None and not self.namespaces.matches(labels):
            return None
        candidates = [
            one for one in (attributes.object, attributes.old_object) if one is not None and "metadata" in one
        ]
        if not self.objects.is_everything and not any(
            self.objects.matches(one["metadata"].get("labels") or {}) for one in candidates
        ):
            return None
        known = list(kinds)
        if self._find(self.excluded, attributes, known) is not None:
            return None
        return self._find(self.rules, attributes, known) if self.rules else known[0]

    def _find(self, rules: Sequence[NamedRule], attributes: Attributes, kinds: list[Kind]) -> Kind | None:
        call = attributes.call
        for kind in kinds if self.equivalent else kinds[:1]:
            if any(rule.matches(attributes.operation, kind, call.subresource, call.name) for rule in rules):
                return kind
        return None


def match_of(given: Json | None) -> Match:
    """The MatchResources of a policy or a binding; None concerns everything."""
    given = given or {}
    return Match(
        [_named(rule) for rule in given.get("resourceRules") or ()],
        [_named(rule) for rule in given.get("excludeResourceRules") or ()],
        labels_from_json(given.get("namespaceSelector") or {}),
        labels_from_json(given.get("objectSelector") or {}),
        given.get("matchPolicy", "Equivalent") == "Equivalent",
    )


def _named(rule: Json) -> NamedRule:
    return NamedRule(rule_of(rule), frozenset(rule.get("resourceNames") or ()))
