"""CEL expressions about a request: `object`, `oldObject`, `request`, `namespaceObject`, for conditions and policies.

Source: Kubernetes documentation, ValidatingAdmissionPolicy, and webhook matchConditions; upstream admission/plugin/cel.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kobune.api.catalogue import Kind
from kobune.api.errors import Json, forbidden
from kobune.controlplane.apiserver.admission.attributes import Attributes

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

VARIABLES = ("object", "oldObject", "request", "namespaceObject", "params", "variables")


class Failed(Exception):
    """An expression that does not compile or has no value."""


def evaluate(expression: str, values: Mapping[str, Any]) -> Any:
    """The value of an expression over VARIABLES; compiled once. Raises Failed."""
    # Here, because few clusters have conditions, and the engine takes time to load.
    from kobune.api.cel.environment import CelError, Evaluation, compiled

    evaluator, program = compiled(expression, VARIABLES)
    if isinstance(program, CelError):
        raise Failed(f"compilation failed: {program}")
    try:
        return program.run(evaluator.activation(values))
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
    }


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
