"""Which webhooks a request concerns."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.selectors import LabelSelector, labels_from_json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.store.cache import Cache

# Webhooks judge neither themselves nor those who could judge them. Source: upstream rules.IsExemptAdmissionConfigurationResource.
EXEMPT_GROUP = "admissionregistration.k8s.io"


class Rule(NamedTuple):
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: frozenset[str]
    scope: str

    def matches(self, operation: str, kind: Kind, subresource: str) -> bool:
        """Source: upstream rules.Matcher."""
        if operation not in self.operations and "*" not in self.operations:
            return False
        if not (kind.group in self.groups or "*" in self.groups):
            return False
        if not (kind.version in self.versions or "*" in self.versions):
            return False
        if self.scope != "*" and self.scope != ("Namespaced" if kind.namespaced else "Cluster"):
            return False
        wanted = (kind.plural, "*") if not subresource else ()
        parts = (f"{kind.plural}/{subresource}", f"*/{subresource}", f"{kind.plural}/*", "*/*") if subresource else ()
        return any(one in self.resources for one in (*wanted, *parts, *(("*/*",) if not subresource else ())))


class Webhook(NamedTuple):
    """One webhook of one configuration."""

    name: str
    configuration: str
    rules: Sequence[Rule]
    namespaces: LabelSelector
    objects: LabelSelector
    client: Json
    ignores_failure: bool
    equivalent: bool
    timeout_seconds: float
    side_effects: str
    reinvoked: bool
    conditions: Sequence[Json]  # matchConditions: all must hold.

    def version_for(self, operation: str, kinds: Iterable[Kind], subresource: str) -> Kind | None:
        """The version of the object in which the webhook wants it, of all there are; the request's own stands first."""
        for kind in kinds:
            if any(rule.matches(operation, kind, subresource) for rule in self.rules):
                return kind
            if not self.equivalent:
                return None
        return None

    def wants(self, attributes: Attributes, namespace_labels: dict[str, str] | None) -> bool:
        """Whether its selectors choose the request's namespace and object."""
        if namespace_labels is not None and not self.namespaces.matches(namespace_labels):
            return False
        if self.objects.is_everything:
            return True
        candidates = [
            one for one in (attributes.object, attributes.old_object) if one is not None and "metadata" in one
        ]
        return any(self.objects.matches(one["metadata"].get("labels") or {}) for one in candidates)


class Webhooks:
    """The webhooks of all configurations of one kind, by configuration name; read anew when one has changed."""

    def __init__(self) -> None:
        self._seen = -1
        self._all: list[Webhook] = []

    def read(self, cache: Cache) -> list[Webhook]:
        if cache.changed_at != self._seen:
            self._seen = cache.changed_at
            configurations: list[Json] = [orjson.loads(item.body) for item in cache.list()]
            self._all = [
                webhook_of(one, configuration["metadata"]["name"])
                for configuration in configurations
                for one in configuration.get("webhooks") or ()
            ]
        return self._all


def webhook_of(webhook: Json, configuration: str) -> Webhook:
    """The webhook as its configuration, defaulted already, has it."""
    return Webhook(
        webhook["name"],
        configuration,
        [rule_of(rule) for rule in webhook.get("rules") or ()],
        labels_from_json(webhook.get("namespaceSelector") or {}),
        labels_from_json(webhook.get("objectSelector") or {}),
        webhook.get("clientConfig") or {},
        ignores_failure=webhook.get("failurePolicy") == "Ignore",
        equivalent=webhook.get("matchPolicy", "Equivalent") == "Equivalent",
        timeout_seconds=float(webhook.get("timeoutSeconds") or 10),
        side_effects=webhook.get("sideEffects") or "",
        reinvoked=webhook.get("reinvocationPolicy") == "IfNeeded",
        conditions=webhook.get("matchConditions") or (),
    )


def rule_of(rule: Json) -> Rule:
    return Rule(
        frozenset(rule.get("operations") or ()),
        frozenset(rule.get("apiGroups") or ()),
        frozenset(rule.get("apiVersions") or ()),
        frozenset(rule.get("resources") or ()),
        rule.get("scope") or "*",
    )
