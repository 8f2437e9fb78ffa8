"""Policies in CEL and the bindings that put them to work: which concern a request, and with which parameters."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.selectors import labels_from_json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.policies.matching import Match, match_of
from kobune.controlplane.apiserver.admission.webhooks.matching import EXEMPT_GROUP
from kobune.controlplane.apiserver.admission.webhooks.versions import namespace_labels, versions_of
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Selection

GROUP = "admissionregistration.k8s.io"


class Binding(NamedTuple):
    """A binding and its policy."""

    name: str
    policy: Json
    constraints: Match  # The policy's.
    match: Match  # The binding's own.
    params: Json | None
    actions: tuple[str, ...]


class Bindings:
    """The bindings of one kind of policy, read anew when something changes."""

    def __init__(self, registry: Registry, policy: str) -> None:
        """`policy` is the kind of the policies; their bindings' has "Binding" after it."""
        self._registry = registry
        self._policy = registry.catalogue.find_kind(GROUP, "v1", policy)
        self._binding = registry.catalogue.find_kind(GROUP, "v1", f"{policy}Binding")
        self._seen = (-1, -1)
        self._bindings: list[Binding] = []

    def may_concern(self, attributes: Attributes) -> bool:
        """A look at the cache, so that writes without policies cost nothing."""
        if self._policy is None or self._binding is None or attributes.call.kind.group == EXEMPT_GROUP:
            return False
        cache = self._registry.open_cache(self._binding)
        return cache is None or len(cache) > 0

    def rests_on(self, attributes: Attributes) -> Sequence[Kind] | None:
        """On what it rests that no policy concerns the request; None when one may."""
        if self.may_concern(attributes):
            return None
        return (self._binding,) if self._binding is not None else ()

    async def concerned(self, attributes: Attributes) -> list[tuple[Binding, Kind]]:
        """Each binding that the request concerns, with the version of the object that it judges."""
        bindings = await self._read()
        if not bindings:
            return []
        labels = await namespace_labels(self._registry, attributes)
        found = []
        for binding in bindings:
            kinds = list(versions_of(self._registry.catalogue, attributes.call.kind))
            kind = binding.constraints.version_for(attributes, kinds, labels)
            if kind is not None and binding.match.version_for(attributes, kinds, labels) is not None:
                found.append((binding, kind))
        return found

    async def params(self, binding: Binding, attributes: Attributes) -> Sequence[Json | None]:
        """The objects that parametrize the policy; [None] for one that takes none. Raises LookupError."""
        kind_of, reference = binding.policy["spec"].get("paramKind"), binding.params
        if kind_of is None or reference is None:
            return [None]
        group, _, version = kind_of["apiVersion"].rpartition("/")
        kind = self._registry.catalogue.find_kind(group, version, kind_of["kind"])
        if kind is None:
            raise LookupError(f"paramKind kind `{kind_of['apiVersion']}, Kind={kind_of['kind']}` not known")
        namespace = reference.get("namespace") or attributes.call.namespace
        if kind.namespaced and not namespace:
            raise LookupError("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        found: list[Json | None] = []
        if reference.get("name"):
            obj = await self._registry.find(kind, namespace, reference["name"])
            found = [] if obj is None else [obj]
        else:
            cache, selector = await self._registry.cache(kind), labels_from_json(reference.get("selector") or {})
            items = cache.list(Selection(namespace if kind.namespaced else "", labels=selector))
            found = [orjson.loads(self._registry.body_in(kind, item.body)) for item in items]
        if not found and reference.get("parameterNotFoundAction", "Deny") != "Allow":
            raise LookupError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return found

    async def _read(self) -> list[Binding]:
        assert self._policy is not None
        assert self._binding is not None
        policies, bindings = await self._registry.cache(self._policy), await self._registry.cache(self._binding)
        seen = (policies.changed_at, bindings.changed_at)
        if seen != self._seen:
            known = {item.name: orjson.loads(item.body) for item in policies.list()}
            self._bindings = [
                _binding(one, known[one["spec"]["policyName"]])
                for one in (orjson.loads(item.body) for item in bindings.list())
                if one["spec"].get("policyName") in known
            ]
            self._bindings.sort(key=lambda one: (one.policy["metadata"]["name"], one.name))
            self._seen = seen
        return self._bindings


def _binding(binding: Json, policy: Json) -> Binding:
    spec = binding["spec"]
    return Binding(
        binding["metadata"]["name"],
        policy,
        match_of(policy["spec"].get("matchConstraints")),
        match_of(spec.get("matchResources")),
        spec.get("paramRef"),
        tuple(spec.get("validationActions") or ()),
    )
