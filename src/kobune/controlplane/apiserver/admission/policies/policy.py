"""One policy against one request: pure, given the values that its expressions see.

Source: upstream admission/plugin/policy/validating (validator.go, message.go).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.conditions import Failed, evaluate

MAX_MESSAGE = 5 * 1024


class Decision(NamedTuple):
    """Why a request should not pass."""

    message: str
    reason: str  # A StatusReason.


def decisions(policy: Json, values: Mapping[str, Any]) -> Iterator[Decision]:
    """Every validation that fails, in order. A failure to evaluate counts unless the policy ignores failures."""
    spec = policy["spec"]
    ignores = spec.get("failurePolicy") == "Ignore"
    seen = with_variables(policy, values)
    for validation in spec.get("validations") or ():
        try:
            passed = evaluate(validation["expression"], seen) is True
        except Failed as error:
            if not ignores:
                yield Decision(str(error), "Invalid")
            continue
        if not passed:
            yield Decision(_message(validation, seen), validation.get("reason") or "Invalid")


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
