"""ValidatingAdmissionPolicy: policies in CEL, put to work by their bindings.

Source: Kubernetes documentation, Validating Admission Policy; upstream admission/plugin/policy.
"""

from collections.abc import Awaitable, Sequence

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, FieldError, forbidden
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.conditions import Failed, hold, values_of
from kobune.controlplane.apiserver.admission.policies.bindings import Binding, Bindings
from kobune.controlplane.apiserver.admission.policies.policy import Decision, annotations, decisions
from kobune.controlplane.apiserver.admission.webhooks.review import review_of
from kobune.controlplane.apiserver.registry.registry import Registry

FAILURE = "validation.policy.admission.k8s.io/validation_failure"  # The audit annotation of what did not pass.
CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}


class ValidatingAdmissionPolicy:
    name = "ValidatingAdmissionPolicy"
    operations = ("CREATE", "UPDATE", "DELETE")
    resources = ("**",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._bindings = Bindings(registry, self.name)

    def admit(self, attributes: Attributes) -> None:
        return None

    def rests_on(self, attributes: Attributes) -> Sequence[Kind] | None:
        return self._bindings.rests_on(attributes)

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._validate(attributes) if self._bindings.may_concern(attributes) else None

    async def _validate(self, attributes: Attributes) -> None:
        for binding, kind in await self._bindings.concerned(attributes):
            for decision in await self._judge(binding, kind, attributes):
                self._tell(binding, decision, attributes)

    async def _judge(self, binding: Binding, kind: Kind, attributes: Attributes) -> list[Decision]:
        spec, call = binding.policy["spec"], attributes.call
        request = (await review_of(self._registry, attributes, kind))["request"]
        values = await values_of(self._registry, attributes, request)
        ignores = spec.get("failurePolicy") == "Ignore"
        conditions = spec.get("matchConditions") or ()
        if conditions and not hold(conditions, values, call.kind, call.name, ignores_failure=ignores):
            return []
        found: list[Decision] = []
        try:
            params = await self._bindings.params(binding, attributes)
        except LookupError as error:
            return [] if ignores else [Decision(f"failed to configure binding: {error}", "Invalid")]
        for one in params:
            seen = {**values, "params": one}
            found += decisions(binding.policy, seen)
            try:
                for key, value in annotations(binding.policy, seen):
                    known = call.annotations.get(key)
                    call.annotations[key] = value if known in (None, value) else f"{known}, {value}"
            except Failed as error:
                found.append(Decision(str(error), "Invalid"))
        return found

    def _tell(self, binding: Binding, decision: Decision, attributes: Attributes) -> None:
        """Warn, refuse, or both. Raises ApiError."""
        call, policy = attributes.call, binding.policy["metadata"]["name"]
        who = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding.name}'"
        if "Audit" in binding.actions:
            failure = {
                "message": decision.message, "policy": policy, "binding": binding.name,
                "expressionIndex": decision.position, "validationActions": [*binding.actions],
            }  # fmt: skip
            call.annotations[FAILURE] = orjson.dumps([failure]).decode()
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
