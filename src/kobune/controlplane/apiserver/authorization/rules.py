"""One rule of a role: what it allows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kobune.controlplane.apiserver.authorization.authorizer import Access


class Rule(NamedTuple):
    """A PolicyRule. Either resources or URLs, never both."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]  # Empty: all.
    urls: tuple[str, ...] = ()

    def allows(self, access: Access) -> bool:
        """Source: upstream rbac.RuleAllows."""
        if access.verb not in self.verbs and "*" not in self.verbs:
            return False
        if access.path:
            return any(_matches(url, access.path) for url in self.urls)
        if access.group not in self.groups and "*" not in self.groups:
            return False
        if self.names and access.name not in self.names:
            return False
        resources = self.resources
        if "*" in resources:
            return True
        if not access.subresource:
            return access.resource in resources
        return f"{access.resource}/{access.subresource}" in resources or f"*/{access.subresource}" in resources

    def allows_some(self, access: Access) -> bool:
        """Whether the rule would allow this for objects of some name."""
        return self._replace(names=frozenset()).allows(access)

    def covers(self, other: "Rule") -> bool:
        """Whether whoever has this rule has the other one too; `other` names one thing of each sort."""
        if not (other.verbs <= self.verbs or "*" in self.verbs):
            return False
        if other.urls:
            return all(any(_matches(own, url) for own in self.urls) for url in other.urls)
        if not (other.groups <= self.groups or "*" in self.groups):
            return False
        if self.names and not (other.names and other.names <= self.names):
            return False
        return all(
            one in self.resources or "*" in self.resources or f"*/{one.partition('/')[2]}" in self.resources
            for one in other.resources
        )

    def to_json(self) -> dict[str, Any]:
        """The rule as it stands in an object or a review."""
        given: dict[str, Sequence[str]] = {"verbs": sorted(self.verbs)}
        if self.urls:
            return {**given, "nonResourceURLs": list(self.urls)}
        given |= {"apiGroups": sorted(self.groups), "resources": sorted(self.resources)}
        return {**given, "resourceNames": sorted(self.names)} if self.names else dict(given)


def rule_of(policy: Mapping[str, Any]) -> Rule:
    """The rule that a PolicyRule in JSON says."""
    return Rule(
        frozenset(policy.get("verbs") or ()),
        frozenset(policy.get("apiGroups") or ()),
        frozenset(policy.get("resources") or ()),
        frozenset(policy.get("resourceNames") or ()),
        tuple(policy.get("nonResourceURLs") or ()),
    )


def parse_rule(line: str) -> Rule:
    """The rule that a line of the bootstrap tables says."""
    verbs, groups, resources, *names = line.split(" ")
    if groups == "-":
        empty: frozenset[str] = frozenset()
        return Rule(frozenset(verbs.split(",")), empty, empty, empty, tuple(resources.split(",")))
    return Rule(
        frozenset(verbs.split(",")),
        frozenset("" if group == "core" else group for group in groups.split(",")),
        frozenset(resources.split(",")),
        frozenset(names[0].split(",") if names else ()),
    )


def singles(rule: Rule) -> list[Rule]:
    """The rule taken apart, so that each part can be looked for among the rules somebody has."""
    empty: frozenset[str] = frozenset()
    if rule.urls:
        return [Rule(frozenset((verb,)), empty, empty, empty, (url,)) for verb in rule.verbs for url in rule.urls]
    names = [frozenset((name,)) for name in rule.names] or [empty]
    return [
        Rule(frozenset((verb,)), frozenset((group,)), frozenset((resource,)), name)
        for verb in rule.verbs
        for group in rule.groups
        for resource in rule.resources
        for name in names
    ]


def _matches(pattern: str, path: str) -> bool:
    if pattern == "*" or pattern == path:
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))
