"""The CEL rules in a CustomResourceDefinition's schema: whether they compile, and give what they should.

Source: upstream apiextensions-apiserver, pkg/apis/apiextensions/validation and pkg/apiserver/schema/cel/compilation.go.
"""

import re
from collections.abc import Mapping
from typing import Any

from kobune.api.errors import Json
from kobune.api.field_errors import invalid
from kobune.api.validation.checks import Errors

_FIRST_LINE = re.compile(r"<input>:1:(\d+)")


def check_rules(schema: Json, path: str, errors: Errors) -> None:
    """The rules of a structural schema."""
    if has_rules(schema):
        _check(schema, path, errors, fixed="", is_root=True)


def has_rules(schema: Mapping[str, Any]) -> bool:
    """Whether there is a rule anywhere."""
    return bool(schema.get("x-kubernetes-validations")) or any(
        has_rules(inner)
        for inner in (
            *(schema.get("properties") or {}).values(), *(schema.get("allOf") or ()), schema.get("items"),
            schema.get("additionalProperties"),
        )
        if isinstance(inner, Mapping)
    )  # fmt: skip


def _check(schema: Mapping[str, Any], path: str, errors: Errors, *, fixed: str, is_root: bool = False) -> None:
    """`fixed`: the path of the list or map whose parts cannot be told apart from update to update; "" outside of one."""
    for position, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        _check_rule(schema, rule, f"{path}.x-kubernetes-validations[{position}]", errors, fixed=fixed, is_root=is_root)
    inside = fixed or (path if schema.get("x-kubernetes-map-type") == "atomic" else "")
    for name, field in (schema.get("properties") or {}).items():
        _check(field, f"{path}.properties[{name}]", errors, fixed=inside)
    if isinstance(schema.get("additionalProperties"), Mapping):
        _check(schema["additionalProperties"], f"{path}.additionalProperties", errors, fixed=fixed)
    if isinstance(schema.get("items"), Mapping):
        inside = fixed or ("" if schema.get("x-kubernetes-list-type") == "map" else path)
        _check(schema["items"], f"{path}.items", errors, fixed=inside)


def _check_rule(schema: Mapping[str, Any], rule: Json, path: str, errors: Errors, *, fixed: str, is_root: bool) -> None:
    # Here, because few definitions have rules, and the engine takes time to load.
    from kobune.api.cel.declarations import Declarations
    from kobune.api.cel.environment import CelError, Checker, type_named
    from kobune.api.cel.rules import OPTIONAL_OLD, uses_old

    declarations = Declarations()
    kind = declarations.type_of(schema, is_object=is_root)
    text, has_old = rule["rule"], uses_old(rule["rule"])
    is_optional = bool(rule.get("optionalOldSelf")) and has_old
    plain = {"self": kind, "oldSelf": kind}
    variables = {"self": kind, "hasOldSelf": type_named("bool"), "givenOldSelf": kind} if is_optional else plain
    try:
        result = Checker(variables, declarations.file).type_of(f"{OPTIONAL_OLD}{text})" if is_optional else text)
        if result not in ("BOOL", "DYN"):
            errors.append(invalid(f"{path}.rule", _shown(rule), "cel expression must evaluate to a bool"))
    except CelError as error:
        told = _shifted(str(error), OPTIONAL_OLD) if is_optional else str(error)
        errors.append(invalid(f"{path}.rule", _shown(rule), f"compilation failed: {told}"))
    if rule.get("messageExpression"):
        try:
            if Checker(plain, declarations.file).type_of(rule["messageExpression"]) != "STRING":
                words = "messageExpression must evaluate to a string"
                errors.append(invalid(f"{path}.messageExpression", _shown(rule), words))
        except CelError as error:
            told = f"messageExpression compilation failed: {error}"
            errors.append(invalid(f"{path}.messageExpression", _shown(rule), told))
    if has_old and fixed:
        told = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {fixed}"
        errors.append(invalid(f"{path}.rule", text, told))
    if not has_old and rule.get("optionalOldSelf") is not None:
        told = "may not be set if oldSelf is not used in rule"
        errors.append(invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], told))


def _shown(rule: Json) -> Json:
    """A rule with the names and the order of upstream's own fields."""
    fields = ("rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf")
    empty = {"reason": None, "optionalOldSelf": None}
    return {name[0].upper() + name[1:]: rule.get(name, empty.get(name, "")) for name in fields}


def _shifted(text: str, prefix: str) -> str:
    """A complaint about a rule that stood behind a prefix of its own."""
    text = _FIRST_LINE.sub(lambda match: f"<input>:1:{max(int(match[1]) - len(prefix), 1)}", text)
    marker = f" | {'.' * len(prefix)}"
    lines = [
        f" | {line.removeprefix(f' | {prefix}').removesuffix(')')}" if line.startswith(f" | {prefix}")
        else f" | {line.removeprefix(marker)}" if line.startswith(marker)
        else line
        for line in text.split("\n")
    ]  # fmt: skip
    return "\n".join(lines)
