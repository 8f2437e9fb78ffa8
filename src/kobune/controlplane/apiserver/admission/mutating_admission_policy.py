"""MutatingAdmissionPolicy: changes in CEL, put to work by their bindings.

Source: Kubernetes documentation, Mutating Admission Policy; upstream admission/plugin/policy/mutating.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from kobune.api.apply.values import merge
from kobune.api.catalogue import Kind
from kobune.api.copying import clone
from kobune.api.errors import ApiError, FieldError, Forbidden, Invalid, Json
from kobune.api.patch import jsonpatch
from kobune.api.schema import Schema
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.conditions import Failed, evaluate, hold, values_of
from kobune.controlplane.apiserver.admission.policies.bindings import Binding, Bindings
from kobune.controlplane.apiserver.admission.policies.policy import with_variables
from kobune.controlplane.apiserver.admission.refusal import name_of
from kobune.controlplane.apiserver.admission.webhooks.review import review_of
from kobune.controlplane.apiserver.registry.decoding import checked_object
from kobune.controlplane.apiserver.registry.registry import Registry


class MutatingAdmissionPolicy:
    name = "MutatingAdmissionPolicy"
    operations = ("CREATE", "UPDATE")
    resources = ("**",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._bindings = Bindings(registry, self.name)

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._admit(attributes) if self._bindings.may_concern(attributes) else None

    def rests_on(self, attributes: Attributes) -> Sequence[Kind] | None:
        return self._bindings.rests_on(attributes)

    def validate(self, attributes: Attributes) -> None:
        return None

    async def again(self, attributes: Attributes) -> None:
        """Somebody else has changed the object since: those who want to look again do."""
        if self._bindings.may_concern(attributes):
            for binding, kind in await self._bindings.concerned(attributes):
                if _looks_again(binding):
                    await self._mutate(binding, kind, attributes)

    async def _admit(self, attributes: Attributes) -> None:
        concerned = await self._bindings.concerned(attributes)
        last_change = -1
        for position, (binding, kind) in enumerate(concerned):
            if await self._mutate(binding, kind, attributes):
                last_change = position
        for binding, kind in concerned[: max(last_change, 0)]:
            if _looks_again(binding):
                await self._mutate(binding, kind, attributes)

    async def _mutate(self, binding: Binding, kind: Kind, attributes: Attributes) -> bool:
        """Whether the policy has changed the object. Raises Forbidden or Invalid when it fails and failures count."""
        spec, call, obj = binding.policy["spec"], attributes.call, attributes.object
        if obj is None:
            return False
        ignores = spec.get("failurePolicy") == "Ignore"
        before = clone(obj)
        try:
            params = await self._bindings.params(binding, attributes)
        except LookupError as error:
            if ignores:
                return False
            raise _denied(binding, attributes, f"failed to configure binding: {error}") from error
        for one in params:
            for mutation in spec.get("mutations") or ():
                request = (await review_of(self._registry, attributes, kind))["request"]
                values = {**await values_of(self._registry, attributes, request), "params": one}
                conditions = spec.get("matchConditions") or ()
                if conditions and not hold(conditions, values, call.kind, call.name, ignores_failure=ignores):
                    break
                try:
                    seen = with_variables(binding.policy, values)
                    await self._take(attributes, kind, changed(mutation, seen, self._registry.schema(kind)))
                except (Failed, ApiError, ValueError, TypeError) as error:
                    if not ignores:
                        raise _denied(binding, attributes, str(error)) from error
        return bool(obj != before)

    async def _take(self, attributes: Attributes, kind: Kind, new: Json) -> None:
        """Put the changed object, given in the version of `kind`, in the place of the old one."""
        call, obj = attributes.call, attributes.object
        assert obj is not None
        new = await self._registry.in_version(new, kind, call.kind)
        if not call.subresource or call.subresource == "status":
            new = checked_object(new, call.kind, self._registry.schema(call.kind))
            self._registry.default(call.kind, new)
        obj.clear()
        obj.update(new)


def changed(mutation: Json, values: Mapping[str, Any], schema: Schema) -> Json:
    """The object after one mutation. Raises Failed, ApiError, ValueError."""
    obj: Json = values["object"]
    if mutation.get("patchType") == "JSONPatch":
        operations = _evaluated(mutation["jsonPatch"]["expression"], values)
        if not isinstance(operations, list):
            raise ValueError("type mismatch: JSONPatchType.expression should evaluate to array")
        try:
            patched: Json = jsonpatch.apply(obj, plain(operations))
        except Invalid as error:
            if "test failed" in str(error.__cause__):
                unchanged: Json = clone(obj)
                return unchanged  # A test that fails is a condition that does not hold.
            raise
        return patched
    wanted = plain(_evaluated(mutation["applyConfiguration"]["expression"], values))
    if not isinstance(wanted, dict):
        raise ValueError(f"unsupported return type from ApplyConfiguration expression: {type(wanted).__name__}")
    atomic = sorted(_atomics(wanted, schema, ""))
    if atomic:
        why = f"may not mutate atomic arrays, maps or structs: {', '.join(atomic)}"
        raise ValueError(f"error applying patch: invalid ApplyConfiguration: {why}")
    merged: Json = merge(obj, wanted, schema)
    return merged


def _evaluated(expression: str, values: Mapping[str, Any]) -> Any:
    """Raises Failed, in words about the expression as it was written."""
    from kobune.api.cel.mutations import with_maps

    try:
        return evaluate(with_maps(expression), values)
    except Failed as error:
        raise Failed(str(error).replace(with_maps(expression), expression)) from error


def plain(value: Any) -> Any:
    """What CEL has made, as JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _atomics(value: Any, schema: Schema | None, path: str) -> list[str]:
    """The paths in `value` of what can only be replaced as a whole."""
    if schema is None:
        return []
    if isinstance(value, list):
        if schema.list_type not in ("map", "set"):
            return [path]
        return [one for item in value for one in _atomics(item, schema.items, f"{path}[]")]
    if not isinstance(value, dict):
        return []
    found = [path] if schema.map_type == "atomic" else []
    for name, each in value.items():
        found += _atomics(each, schema.properties.get(name) or schema.additional, f"{path}.{name}")
    return found


def _looks_again(binding: Binding) -> bool:
    return bool(binding.policy["spec"].get("reinvocationPolicy") == "IfNeeded")


def _denied(binding: Binding, attributes: Attributes, why: str) -> ApiError:
    policy = binding.policy["metadata"]["name"]
    message, call = f"policy '{policy}' with binding '{binding.name}' denied request: {why}", attributes.call
    cause = FieldError("", "", message)
    return Forbidden(message, cause, group=call.kind.group, resource=call.kind.plural, name=name_of(attributes))
