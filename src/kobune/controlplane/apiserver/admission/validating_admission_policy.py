"""ValidatingAdmissionPolicy: policies in CEL, put to work by their bindings.

Source: Kubernetes documentation, Validating Admission Policy; upstream admission/plugin/policy.
"""

from collections.abc import Awaitable
from typing import NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, FieldError, Json, forbidden
from kobune.api.selectors import labels_from_json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.conditions import hold, values_of
from kobune.controlplane.apiserver.admission.policies.matching import Match, match_of
from kobune.controlplane.apiserver.admission.policies.policy import Decision, decisions
from kobune.controlplane.apiserver.admission.webhooks.matching import EXEMPT_GROUP
from kobune.controlplane.apiserver.admission.webhooks.review import review_of
from kobune.controlplane.apiserver.admission.webhooks.versions import namespace_labels, versions_of
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Selection

GROUP = "admissionregistration.k8s.io"
CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}


class Binding(NamedTuple):
    """A binding and its policy."""

    name: str
    policy: Json
    constraints: Match  # The policy's.
    match: Match  # The binding's own.
    params: Json | None
    actions: tuple[str, ...]


class ValidatingAdmissionPolicy:
    name = "ValidatingAdmissionPolicy"
    operations = ("CREATE", "UPDATE", "DELETE")
    resources = ("**",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        catalogue = registry.catalogue
        self._policy = catalogue.find_kind(GROUP, "v1", "ValidatingAdmissionPolicy")
        self._binding = catalogue.find_kind(GROUP, "v1", "ValidatingAdmissionPolicyBinding")
        self._seen = (-1, -1)
        self._bindings: list[Binding] = []

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        if self._policy is None or self._binding is None or attributes.call.kind.group == EXEMPT_GROUP:
            return None
        cache = self._registry.open_cache(self._binding)
        # A look at the cache, so that writes without policies cost nothing.
        return self._validate(attributes) if cache is None or len(cache) else None

    async def _validate(self, attributes: Attributes) -> None:
        bindings = await self._read()
        if not bindings:
            return
        call = attributes.call
        labels = await namespace_labels(self._registry, attributes)
        for binding in bindings:
            kinds = versions_of(self._registry.catalogue, call.kind)
            kind = binding.constraints.version_for(attributes, kinds, labels)
            kinds = versions_of(self._registry.catalogue, call.kind)
            if kind is None or binding.match.version_for(attributes, kinds, labels) is None:
                continue
            for decision in await self._judge(binding, kind, attributes):
                self._tell(binding, decision, attributes)

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
            self._seen = seen
        return self._bindings

    async def _judge(self, binding: Binding, kind: Kind, attributes: Attributes) -> list[Decision]:
        spec, call = binding.policy["spec"], attributes.call
        request = review_of(attributes, kind, self._registry.mint.uid())["request"]
        values = await values_of(self._registry, attributes, request)
        ignores = spec.get("failurePolicy") == "Ignore"
        conditions = spec.get("matchConditions") or ()
        if conditions and not hold(conditions, values, call.kind, call.name, ignores_failure=ignores):
            return []
        found: list[Decision] = []
        try:
            params = await self._params(binding, attributes)
        except LookupError as error:
            return [] if ignores else [Decision(f"failed to configure binding: {error}", "Invalid")]
        for one in params:
            found += decisions(binding.policy, {**values, "params": one})
        return found

    async def _params(self, binding: Binding, attributes: Attributes) -> list[Json | None]:
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

    def _tell(self, binding: Binding, decision: Decision, attributes: Attributes) -> None:
        """Warn, refuse, or both. Raises ApiError."""
        call, policy = attributes.call, binding.policy["metadata"]["name"]
        who = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding.name}'"
        if "Warn" in binding.actions:
            call.warnings.append(f"Validation failed for {who}: {decision.message}")
        if "Deny" in binding.actions:
            raise _refusal(attributes, f"{who} denied request: {decision.message}", decision.reason)


def _refusal(attributes: Attributes, message: str, reason: str) -> ApiError:
    call = attributes.call
    name = call.name or ((attributes.object or {}).get("metadata") or {}).get("name", "")
    error: ApiError = forbidden(call.kind.plural, name, message, group=call.kind.group)
    error.causes = (FieldError("", "", message),)
    error.reason, error.code = reason, CODES.get(reason, 422)
    return error


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
