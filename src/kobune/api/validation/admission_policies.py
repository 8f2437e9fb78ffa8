"""Admission policies and their bindings."""

import re

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_supported, required
from kobune.api.validation.admission_expressions import check_expression, check_mutation
from kobune.api.validation.admission_rules import (
    FAILURE_POLICIES,
    OPERATIONS,
    check_match_conditions,
    check_match_resources,
)
from kobune.api.validation.checks import (
    Errors,
    check_name,
    check_one_of,
    check_present,
    check_required_name,
)
from kobune.api.validation.selectors import check_label_selector
from kobune.api.validation.statuses import check_conditions

MAX_ANNOTATIONS, LONGEST_EXPRESSION = 20, 5 * 1024
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
ACTIONS = ("Audit", "Deny", "Warn")
REINVOCATION = ("IfNeeded", "Never")
# Patch types, each with the field that holds it.
PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
PATCH_TYPES = {"ApplyConfiguration": "Object", "JSONPatch": "list(JSONPatch)"}  # What their expressions give.
MUTABLE = tuple(operation for operation in OPERATIONS if operation != "DELETE")
BOTH = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
EXCLUSIVE = "name and selector are mutually exclusive"
NOTHING = "validations or auditAnnotations must contain at least one item"
IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)


def check_validating_policy(policy: Json, errors: Errors) -> None:
    spec = policy.get("spec") or {}
    _check_common(spec, errors)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        errors += [required("spec.validations", NOTHING), required("spec.auditAnnotations", NOTHING)]
    params = spec.get("paramKind") is not None
    for index, validation in enumerate(validations):
        _check_validation(validation, f"spec.validations[{index}]", errors, params=params)
    if len(annotations) > MAX_ANNOTATIONS:
        detail = f"must not have more than {MAX_ANNOTATIONS} auditAnnotations"
        errors.append(invalid("spec.auditAnnotations", annotations, detail))
    seen: set[str] = set()
    name = (policy.get("metadata") or {}).get("name") or ""
    for index, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{index}]", annotation.get("key") or ""
        if name:
            check_name(names.is_qualified_name, f"{name}/{key}", f"{path}.key", errors)
        else:
            errors.append(invalid(f"{path}.key", key, "requires metadata.name be non-empty"))
        value = (annotation.get("valueExpression") or "").strip()
        check_present(value, f"{path}.valueExpression", errors, "valueExpression is not specified")
        if len(value.encode()) > LONGEST_EXPRESSION:
            detail = f"must not exceed {LONGEST_EXPRESSION} bytes in length"
            errors.append(required(f"{path}.valueExpression", detail))
        elif value:
            at = f"{path}.valueExpression"
            check_expression(value, ("string", "null"), at, errors, params=params, variables=True)
        if key in seen:
            errors.append(duplicate(f"{path}.key", key))
        seen.add(key)


def check_policy_status(new: Json, old: Json, errors: Errors) -> None:
    status = new.get("status") or {}
    for index, warning in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        path = f"status.typeChecking.expressionWarnings[{index}]"
        check_present(warning.get("warning"), f"{path}.warning", errors)
        check_present((warning.get("fieldRef") or "").strip(), f"{path}.fieldRef", errors)
    check_conditions(status.get("conditions"), "status.conditions", errors)


def check_mutating_policy(policy: Json, errors: Errors) -> None:
    spec = policy.get("spec") or {}
    _check_common(spec, errors)
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            if operation not in MUTABLE:
                errors.append(not_supported("spec.matchConstraints.resourceRules.operations", operation, MUTABLE))
    mutations = spec.get("mutations") or []
    check_present(mutations, "spec.mutations", errors, "mutations must contain at least one item")
    for index, mutation in enumerate(mutations):
        _check_mutation(mutation, f"spec.mutations[{index}]", errors)
    check_one_of(spec.get("reinvocationPolicy"), REINVOCATION, "spec.reinvocationPolicy", errors)


def check_validating_binding(binding: Json, errors: Errors) -> None:
    check_mutating_binding(binding, errors)
    actions, seen = (binding.get("spec") or {}).get("validationActions") or [], set()
    for index, action in enumerate(actions):
        path = f"spec.validationActions[{index}]"
        if action not in ACTIONS:
            errors.append(not_supported(path, action, ACTIONS))
        if action in seen:
            errors.append(duplicate(path, action))
        seen.add(action)
    if {"Deny", "Warn"} <= seen:
        errors.append(invalid("spec.validationActions", actions, BOTH))
    check_present(actions, "spec.validationActions", errors, "at least one validation action is required")


def check_mutating_binding(binding: Json, errors: Errors) -> None:
    spec = binding.get("spec") or {}
    check_required_name(names.is_dns1123_subdomain, spec.get("policyName"), "spec.policyName", errors)
    if spec.get("paramRef") is not None:
        _check_param_ref(spec["paramRef"], "spec.paramRef", errors)
    if spec.get("matchResources") is not None:
        check_match_resources(spec["matchResources"], "spec.matchResources", errors)


def _check_common(spec: Json, errors: Errors) -> None:
    """What both sorts of policies have."""
    check_one_of(spec.get("failurePolicy"), FAILURE_POLICIES, "spec.failurePolicy", errors)
    if spec.get("paramKind") is not None:
        _check_param_kind(spec["paramKind"], "spec.paramKind", errors)
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(required("spec.matchConstraints"))
    else:
        check_match_resources(constraints, "spec.matchConstraints", errors)
        check_present(constraints.get("resourceRules"), "spec.matchConstraints.resourceRules", errors)
    params = spec.get("paramKind") is not None
    check_match_conditions(spec.get("matchConditions") or [], "spec.matchConditions", errors, params=params)
    for index, variable in enumerate(spec.get("variables") or ()):
        path, name = f"spec.variables[{index}]", variable.get("name") or ""
        if not name.strip():
            errors.append(required(f"{path}.name", "name is not specified"))
        elif not IDENTIFIER.fullmatch(name) or name in RESERVED:
            errors.append(invalid(f"{path}.name", name, "must be a valid CEL identifier"))
        _check_expression(variable, (), f"{path}.expression", errors, params=params)


def _check_param_kind(kind: Json, path: str, errors: Errors) -> None:
    text, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    group, _, version = text.rpartition("/")
    if not text:
        errors.append(required(f"{path}.apiVersion"))
    elif "/" in group:
        errors.append(invalid(f"{path}.apiVersion", text, f"unexpected GroupVersion string: {text}"))
    else:
        if group and (wrong := names.is_dns1123_subdomain(group)):
            errors.append(invalid(f"{path}.apiVersion", group, ",".join(wrong)))
        if not version:
            errors.append(invalid(f"{path}.apiVersion", text, "version must be specified"))
        elif wrong := names.is_dns1035_label(version):
            errors.append(invalid(f"{path}.apiVersion", version, ",".join(wrong)))
    if not name:
        errors.append(required(f"{path}.kind"))
    elif wrong := names.is_dns1035_label(name.lower()):
        detail = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
        errors.append(invalid(f"{path}.kind", name, detail))


def _check_param_ref(reference: Json, path: str, errors: Errors) -> None:
    name, selector, action = (reference.get(field) for field in ("name", "selector", "parameterNotFoundAction"))
    if name:
        check_name(names.is_path_segment_name, name, f"{path}.name", errors)
        if selector is not None:
            errors.append(forbidden(f"{path}.name", EXCLUSIVE))
    if selector is not None:
        check_label_selector(selector, f"{path}.selector", errors)
        if name:
            errors.append(forbidden(f"{path}.selector", EXCLUSIVE))
    if not name and selector is None:
        errors.append(required(path, "one of name or selector must be specified"))
    check_one_of(action, ("Deny", "Allow"), f"{path}.parameterNotFoundAction", errors)


def _check_validation(validation: Json, path: str, errors: Errors, *, params: bool) -> None:
    _check_expression(validation, ("bool",), f"{path}.expression", errors, params=params)
    message, expression, reason = (validation.get(field) for field in ("message", "messageExpression", "reason"))
    if expression and not expression.strip():
        errors.append(invalid(f"{path}.messageExpression", expression, "must be non-empty if specified"))
    elif expression:
        at = f"{path}.messageExpression"
        check_expression(expression, ("string",), at, errors, params=params, variables=True)
    if message and not message.strip():
        errors.append(invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif message and re.search(r"[\n\r]", message.strip()):
        errors.append(invalid(f"{path}.message", message, "must not contain line breaks"))
    if reason is not None and reason not in REASONS:
        errors.append(not_supported(f"{path}.reason", reason, REASONS))


def _check_mutation(mutation: Json, path: str, errors: Errors) -> None:
    kind = mutation.get("patchType") or ""
    if kind not in PATCHES:
        check_one_of(kind, tuple(PATCHES), f"{path}.patchType", errors)
        return
    for name, field in PATCHES.items():
        part = mutation.get(field)
        if name != kind:
            if part is not None:
                detail = f"must not be specified when patchType is {kind}"
                errors.append(invalid(f"{path}.{field}", f"{{{field}}}", detail))
        elif part is None:
            errors.append(required(f"{path}.{field}", f"must be specified when patchType is {kind}"))
        else:
            text, at = part.get("expression") or "", f"{path}.{field}.expression"
            if check_present(text.strip(), at, errors):
                check_mutation(text.strip(), PATCH_TYPES[kind], at, errors)


def _check_expression(part: Json, expected: tuple[str, ...], path: str, errors: Errors, *, params: bool) -> None:
    """Args: expected: the types it may have; none: any."""
    text = part.get("expression") or ""
    if check_present(text.strip(), path, errors, "expression is not specified"):
        check_expression(text, expected, path, errors, params=params, variables=True)
