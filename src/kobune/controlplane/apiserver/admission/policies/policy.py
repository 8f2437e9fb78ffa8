"""One policy against one request: pure, given the values that its expressions see.

Source: upstream admission/plugin/policy/validating (validator.go, message.go).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.conditions import Failed, evaluate

MAX_MESSAGE = 5 * 1024
MAX_ANNOTATION = 10 * 1024  # Source: upstream maxAuditAnnotationValueLength.


class Decision(NamedTuple):
    """Why a request should not pass."""

    message: str
    reason: str  # A StatusReason.
    position: int = 0  # Of the validation.


def decisions(policy: Json, values: Mapping[str, Any]) -> Iterator[Decision]:
    """Every validation that fails, in order. A failure to evaluate counts unless the policy ignores failures."""
    spec = policy["spec"]
    ignores = spec.get("failurePolicy") == "Ignore"
    seen = with_variables(policy, values)
    for index, validation in enumerate(spec.get("validations") or ()):
        try:
            passed = evaluate(validation["expression"], seen) is True
        except Failed as error:
            if not ignores:
                yield Decision(str(error), "Invalid", index)
            continue
        if not passed:
            yield Decision(_message(validation, seen), validation.get("reason") or "Invalid", index)


def annotations(policy: Json, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, value) of what the policy has to say for the audit log. Raises Failed unless it ignores failures."""
    spec = policy["spec"]
    if not spec.get("auditAnnotations"):
        return
    seen = with_variables(policy, values)
    for annotation in spec["auditAnnotations"]:
        try:
            value = evaluate(annotation["valueExpression"], seen)
        except Failed:
            if spec.get("failurePolicy") == "Ignore":
                continue
            raise
        if isinstance(value, str) and value:
            yield f"{policy['metadata']['name']}/{annotation['key']}", value[:MAX_ANNOTATION]


def with_variables(policy: Json, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with those of the policy's variables."""
    seen = dict(values)
    variables: dict[str, Any] = {}
    seen["variables"] = variables
    for variable in policy["spec"].get("variables") or ():
        try:
            variables[variable["name"]] = evaluate(variable["expression"], seen)
        except Failed:
            continue  # Whoever uses it fails in its place.
    return seen


def _message(validation: Json, values: Mapping[str, Any]) -> str:
    if validation.get("messageExpression"):
        try:
            text = evaluate(validation["messageExpression"], values)
        except Failed:
            text = ""
        if isinstance(text, str) and text.strip() and "\n" not in text and len(text) <= MAX_MESSAGE:
            return text.strip()
    message: str = validation.get("message") or ""
    return message.strip() or f"failed expression: {validation['expression'].strip()}"
