"""Which requests a webhook or a policy is for."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, invalid, not_supported, required, too_many
from kobune.api.validation.admission_expressions import check_expression
from kobune.api.validation.checks import Errors, check_name, check_one_of, check_present, check_required_name
from kobune.api.validation.selectors import check_label_selector

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
FAILURE_POLICIES, MATCH_POLICIES = ("Fail", "Ignore"), ("Equivalent", "Exact")
MAX_CONDITIONS = 64


def check_rule(rule: Json, path: str, errors: Errors) -> None:
    operations = rule.get("operations") or []
    _check_wildcard(operations, "operations", f"{path}.operations", errors)
    for index, operation in enumerate(operations):
        if operation not in OPERATIONS:
            errors.append(not_supported(f"{path}.operations[{index}]", operation, OPERATIONS))
    _check_wildcard(rule.get("apiGroups") or [], "API groups", f"{path}.apiGroups", errors)
    versions = rule.get("apiVersions") or []
    _check_wildcard(versions, "API versions", f"{path}.apiVersions", errors)
    for index, version in enumerate(versions):
        check_present(version, f"{path}.apiVersions[{index}]", errors)
    _check_resources(rule.get("resources") or [], f"{path}.resources", errors)
    scope = rule.get("scope")
    if scope is not None and scope not in SCOPES:
        errors.append(not_supported(f"{path}.scope", scope, SCOPES))


def check_match_resources(match: Json, path: str, errors: Errors) -> None:
    check_one_of(match.get("matchPolicy"), MATCH_POLICIES, f"{path}.matchPolicy", errors)
    for field in ("namespaceSelector", "objectSelector"):
        if match.get(field) is None:
            errors.append(required(f"{path}.{field}"))
        else:
            check_label_selector(match[field], f"{path}.{field}", errors)
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(field) or ()):
            at = f"{path}.{field}[{index}]"
            seen: set[str] = set()
            for position, name in enumerate(rule.get("resourceNames") or ()):
                check_name(names.is_path_segment_name, name, f"{at}.resourceNames[{position}]", errors)
                if name in seen:
                    errors.append(duplicate(f"{at}.resourceNames[{position}]", name))
                seen.add(name)
            check_rule(rule, at, errors)


def check_match_conditions(conditions: list[Json], path: str, errors: Errors, *, params: bool = False) -> None:
    """Args: params: whether there are parameters to speak of."""
    if len(conditions) > MAX_CONDITIONS:
        errors.append(too_many(path, len(conditions), MAX_CONDITIONS))
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        name = condition.get("name") or ""
        text = condition.get("expression") or ""
        if check_present(text.strip(), f"{path}[{index}].expression", errors):
            check_expression(text, ("bool",), f"{path}[{index}].expression", errors, params=params)
        check_required_name(names.is_qualified_name, name, f"{path}[{index}].name", errors)
        if name and name in seen:
            errors.append(duplicate(f"{path}[{index}].name", name))
        seen.add(name)


def _check_wildcard(values: list[str], what: str, path: str, errors: Errors) -> None:
    check_present(values, path, errors)
    if len(values) > 1 and "*" in values:
        errors.append(invalid(path, values, f"if '*' is present, must not specify other {what}"))


def _check_resources(resources: list[str], path: str, errors: Errors) -> None:
    check_present(resources, path, errors)
    whole: set[str] = set()  # Resources whose every subresource is meant.
    everywhere: set[str] = set()  # Subresources that are meant of every resource.
    plain = False
    for index, text in enumerate(resources):
        if not text:
            errors.append(required(f"{path}[{index}]"))
            continue
        resource, slash, part = text.partition("/")
        if not slash:
            plain = text != "*"
            continue
        if resource in whole:
            errors.append(invalid(f"{path}[{index}]", text, f"if '{resource}/*' is present, must not specify {text}"))
        if part in everywhere:
            errors.append(invalid(f"{path}[{index}]", text, f"if '*/{part}' is present, must not specify {text}"))
        if part == "*":
            whole.add(resource)
        if resource == "*":
            everywhere.add(part)
    if len(resources) > 1 and "*/*" in resources:
        errors.append(invalid(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and plain:
        detail = "if '*' is present, must not specify other resources without subresources"
        errors.append(invalid(path, resources, detail))
