"""The CEL rules in a CustomResourceDefinition's schema: whether they compile, and give what they should.

Source: upstream apiextensions-apiserver, pkg/apis/apiextensions/validation and pkg/apiserver/schema/cel/compilation.go.
"""

import re
from collections.abc import Mapping
from typing import Any

from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid
from kobune.api.validation.checks import Errors

MOST = 2**64 - 1  # Where counting ends.
_FIRST_LINE = re.compile(r"<input>:1:(\d+)")


# Units that one expression may cost, and all of a definition. Source: upstream StaticEstimatedCostLimit, …CRDCostLimit.
COST_LIMIT, SCHEMA_COST_LIMIT = 10_000_000, 100_000_000
MOST_TOLD = 4  # Rules that are named when all together cost too much.
ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


class _Costs:
    """What the rules of a schema can cost."""

    def __init__(self, *, limited: bool) -> None:
        self.limited = limited  # Whether each expression is held to its limit.
        self.total = 0
        self.dear: list[tuple[int, str]] = []

    def add(self, cost: int, what: str, path: str, errors: Errors) -> None:
        if self.limited and cost > COST_LIMIT:
            errors.append(forbidden(path, _over(f"estimated {what} cost", cost, COST_LIMIT)))
        self.total += cost
        if cost >= SCHEMA_COST_LIMIT // 100:
            self.dear.append((cost, path))

    def check_total(self, path: str, errors: Errors) -> None:
        if self.total <= SCHEMA_COST_LIMIT:
            return
        told = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        dearest = sorted(self.dear, key=lambda one: -one[0])[:MOST_TOLD]
        errors.extend(forbidden(where, told) for _, where in dearest)
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.append(forbidden(path, _over(what, self.total, SCHEMA_COST_LIMIT)))


def check_rules(schema: Json, path: str, errors: Errors, *, is_unchanged: bool = False) -> None:
    """The rules of a structural schema; of one that is as before single rules may go on costing too much."""
    if has_rules(schema):
        costs = _Costs(limited=not is_unchanged)
        _check(schema, path, errors, fixed="", is_root=True, times=1, costs=costs)
        costs.check_total(path, errors)


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


def _check(
    schema: Mapping[str, Any], path: str, errors: Errors, *, fixed: str, times: int | None, costs: _Costs,
    is_root: bool = False,
) -> None:  # fmt: skip
    """The rules of a node and of what is below it.

    Args:
        fixed: the path of the list or map whose parts cannot be told apart from update to update; "" outside of one.
        times: how often values of this schema can be in an object; None when no schema above says.
    """
    for position, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        where = f"{path}.x-kubernetes-validations[{position}]"
        _check_rule(schema, rule, where, errors, fixed=fixed, times=times, costs=costs, is_root=is_root)
    times = _times(schema, times)
    inside = fixed or (path if schema.get("x-kubernetes-map-type") == "atomic" else "")
    for name, field in (schema.get("properties") or {}).items():
        _check(field, f"{path}.properties[{name}]", errors, fixed=inside, times=times, costs=costs)
    if isinstance(schema.get("additionalProperties"), Mapping):
        extra = schema["additionalProperties"]
        _check(extra, f"{path}.additionalProperties", errors, fixed=fixed, times=times, costs=costs)
    if isinstance(schema.get("items"), Mapping):
        inside = fixed or ("" if schema.get("x-kubernetes-list-type") == "map" else path)
        _check(schema["items"], f"{path}.items", errors, fixed=inside, times=times, costs=costs)


def _times(schema: Mapping[str, Any], times: int | None) -> int | None:
    """How often there can be what is directly below a node."""
    most: int | None = 1
    if schema.get("type") == "array":
        most = schema.get("maxItems")
    elif schema.get("type") == "object" and schema.get("additionalProperties"):
        most = schema.get("maxProperties")
    return None if times is None or most is None else min(times * max(most, 0), MOST)


def _over(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    told = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {told} {ADVICE}"


def _check_rule(
    schema: Mapping[str, Any], rule: Json, path: str, errors: Errors, *, fixed: str, times: int | None, costs: _Costs,
    is_root: bool,
) -> None:  # fmt: skip
    # Here, because few definitions have rules, and the engine takes time to load.
    from kobune.api.cel.cost import cost_of
    from kobune.api.cel.declarations import OPTIONAL_OLD, checked
    from kobune.api.cel.environment import CelError
    from kobune.api.cel.rules import uses_old
    from kobune.api.cel.sizes import repetitions, size_of

    text, has_old = rule["rule"], uses_old(rule["rule"])
    is_optional = bool(rule.get("optionalOldSelf")) and has_old
    size = size_of(schema, is_object=is_root or bool(schema.get("x-kubernetes-embedded-resource")))
    try:
        result, tree = checked(schema, text, is_object=is_root, is_optional=is_optional)
        if tree is not None:
            cost = cost_of(tree, size).most
            often = times if times is not None else repetitions(size) if size is not None else 1
            costs.add(min(cost * often, MOST), "rule", f"{path}.rule", errors)
        if result not in ("BOOL", "DYN"):
            errors.append(invalid(f"{path}.rule", _shown(rule), "cel expression must evaluate to a bool"))
    except CelError as error:
        told = _shifted(str(error), OPTIONAL_OLD) if is_optional else str(error)
        errors.append(invalid(f"{path}.rule", _shown(rule), f"compilation failed: {told}"))
    if rule.get("messageExpression"):
        try:
            result, tree = checked(schema, rule["messageExpression"], is_object=is_root)
            if tree is not None:
                costs.add(cost_of(tree, size).most, "messageExpression", f"{path}.messageExpression", errors)
            if result != "STRING":
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
