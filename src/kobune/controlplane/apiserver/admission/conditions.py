"""CEL expressions about a request: `object`, `oldObject`, `request`, `namespaceObject`, for conditions and policies.

Source: Kubernetes documentation, ValidatingAdmissionPolicy, and webhook matchConditions; upstream admission/plugin/cel.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kobune.api.catalogue import Kind
from kobune.api.errors import Json, forbidden
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.authorization.authorizer import Access, Verdict
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.request import User

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

VARIABLES = ("object", "oldObject", "request", "namespaceObject", "params", "variables", "authorizer")


class Failed(Exception):
    """An expression that does not compile or has no value."""


def evaluate(expression: str, values: Mapping[str, Any]) -> Any:
    """The value of an expression over VARIABLES; compiled once. Raises Failed."""
    # Here, because few clusters have conditions, and the engine takes time to load.
    from kobune.api.cel.authorizer import deciding, with_request
    from kobune.api.cel.environment import CelError, Evaluation, compiled
    from kobune.api.cel.library import authorizer_value

    evaluator, program = compiled(with_request(expression), VARIABLES)
    if isinstance(program, CelError):
        raise Failed(f"compilation failed: {program}")
    decide, request = values["authorizer"]
    try:
        with deciding(decide, request):
            return program.run(evaluator.activation({**values, "authorizer": authorizer_value()}))
    except (Evaluation, RuntimeError) as error:
        raise Failed(f"expression '{expression}' resulted in error: {error}") from error


async def values_of(registry: "Registry", attributes: Attributes, request: Json) -> dict[str, Any]:
    """What expressions about a request see; `request` is as in an AdmissionReview."""
    call = attributes.call
    namespace = None
    if call.namespace:
        namespace = await registry.find(registry.builtin("", "v1", "Namespace"), "", call.namespace)
    return {
        "object": request.get("object"),
        "oldObject": request.get("oldObject"),
        "request": {name: value for name, value in request.items() if name not in ("object", "oldObject")},
        "namespaceObject": namespace,
        "params": None,
        "variables": {},
        "authorizer": (partial(_decide, registry, call.user), _about(call)),
    }


def _about(call: Call) -> Json:
    """What a request is about, as the parts of a check of authorization."""
    return {
        "group": call.kind.group, "resource": call.kind.plural, "subresource": call.subresource,
        "namespace": call.namespace, "name": call.name,
    }  # fmt: skip


def _decide(registry: "Registry", user: User, parts: Mapping[str, str]) -> tuple[bool, str, str]:
    """Whether what the parts of a check say is allowed, why, and why it could not be told."""
    decision = registry.may(_access(user, parts))
    return decision.verdict is Verdict.ALLOW, decision.reason, decision.error


def _access(user: User, parts: Mapping[str, str]) -> Access:
    if "account" in parts:
        namespace, _, name = parts["account"].partition(":")
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        user = User(f"system:serviceaccount:{namespace}:{name}", groups=groups)
    if "path" in parts:
        return Access(user, parts["verb"], path=parts["path"])
    resource, subresource = parts.get("resource", ""), parts.get("subresource", "")
    namespace, name = parts.get("namespace", ""), parts.get("name", "")
    return Access(user, parts["verb"], parts.get("group", ""), "*", resource, subresource, namespace, name)


def hold(
    conditions: Sequence[Json], values: Mapping[str, Any], kind: Kind, name: str, *, ignores_failure: bool
) -> bool:
    """Whether all matchConditions are true; one that is false settles it, whatever the others fail at.

    Raises:
        Forbidden: one has no value, and failures count.
    """
    problems = []
    for condition in conditions:
        try:
            if evaluate(condition["expression"], values) is not True:
                return False
        except Failed as error:
            problems.append(str(error))
    if not problems:
        return True
    if ignores_failure:
        return False
    why = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    raise forbidden(kind.plural, name, why, group=kind.group)
