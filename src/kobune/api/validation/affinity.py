"""Where a pod may run: affinity, tolerations, spreading, scheduling gates."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_supported, required
from kobune.api.validation.checks import NOT_POSITIVE, Errors, check_name, check_supported
from kobune.api.validation.memo import remembered
from kobune.api.validation.selectors import check_label_selector, check_node_selector, check_node_term

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
IN_BOTH = "exists in both matchLabelKeys and labelSelector"


def check_affinity(affinity: Json, path: str, errors: Errors) -> None:
    node = affinity.get("nodeAffinity")
    if node is not None:
        if node.get(REQUIRED) is not None:
            check_node_selector(node[REQUIRED], f"{path}.nodeAffinity.{REQUIRED}", errors)
        for index, term in enumerate(node.get(PREFERRED) or ()):
            at = f"{path}.nodeAffinity.{PREFERRED}[{index}]"
            _check_weight(term, at, errors)
            check_node_term(term.get("preference") or {}, f"{at}.preference", errors, check_values=False)
    for field in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(field)
        if pods is None:
            continue
        for index, term in enumerate(pods.get(REQUIRED) or ()):
            _check_pod_term(term, f"{path}.{field}.{REQUIRED}[{index}]", errors)
        for index, weighted in enumerate(pods.get(PREFERRED) or ()):
            at = f"{path}.{field}.{PREFERRED}[{index}]"
            _check_weight(weighted, at, errors)
            _check_pod_term(weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm", errors)


@remembered
def check_tolerations(tolerations: list[Json], path: str, errors: Errors) -> None:
    for index, toleration in enumerate(tolerations):
        at = f"{path}[{index}]"
        key, operator, effect = (toleration.get(field) or "" for field in ("key", "operator", "effect"))
        value = toleration.get("value") or ""
        if key:
            check_name(names.is_qualified_name, key, f"{at}.key", errors)
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{at}.operator", operator, detail))
        if "tolerationSeconds" in toleration and effect != "NoExecute":
            errors.append(invalid(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
        match operator:
            case "Equal" | "":
                if wrong := names.is_label_value(value):
                    errors.append(invalid(f"{at}.operator", value, ";".join(wrong)))
            case "Exists":
                if value:
                    errors.append(invalid(f"{at}.operator", value, "value must be empty when `operator` is 'Exists'"))
            case "Lt" | "Gt":
                errors.append(not_supported(f"{at}.operator", operator, ("Equal", "Exists", "Lt", "Gt")))
            case _:
                errors.append(not_supported(f"{at}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in EFFECTS:
            errors.append(not_supported(f"{at}.effect", effect, EFFECTS))


def check_taints(taints: list[Json], path: str, errors: Errors) -> None:
    """Of a node."""
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        at, key, effect = f"{path}[{index}]", taint.get("key") or "", taint.get("effect") or ""
        check_name(names.is_qualified_name, key, f"{at}.key", errors)
        if wrong := names.is_label_value(taint.get("value") or ""):
            errors.append(invalid(f"{at}.value", taint["value"], ";".join(wrong)))
        if not effect:
            errors.append(required(f"{at}.effect"))
        elif effect not in EFFECTS:
            errors.append(not_supported(f"{at}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            fault = duplicate(at, taint)
            message = f"{fault.message}: taints must be unique by key and effect pair"
            errors.append(type(fault)(at, fault.reason, message))
        seen.add((key, effect))


def check_spreading(constraints: list[Json], path: str, errors: Errors) -> None:
    """topologySpreadConstraints."""
    for index, constraint in enumerate(constraints):
        at = f"{path}[{index}]"
        skew, key, action = (
            constraint.get("maxSkew", 0),
            constraint.get("topologyKey"),
            constraint.get("whenUnsatisfiable"),
        )
        if skew <= 0:
            errors.append(invalid(f"{at}.maxSkew", skew, NOT_POSITIVE))
        if not key:
            errors.append(required(f"{at}.topologyKey", "can not be empty"))
        check_supported(action, ("DoNotSchedule", "ScheduleAnyway"), f"{at}.whenUnsatisfiable", errors)
        for other in constraints[index + 1 :]:
            if (other.get("topologyKey"), other.get("whenUnsatisfiable")) == (key, action):
                errors.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
                break
        domains = constraint.get("minDomains")
        if domains is not None:
            if domains <= 0:
                errors.append(invalid(f"{at}.minDomains", domains, NOT_POSITIVE))
            if action != "DoNotSchedule":
                detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                errors.append(invalid(f"{at}.minDomains", domains, detail))
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(field) is not None:
                check_supported(constraint[field], ("Honor", "Ignore"), f"{at}.{field}", errors)
        _check_label_keys(constraint, at, errors)
        check_label_selector(constraint.get("labelSelector"), f"{at}.labelSelector", errors)


def check_gates(gates: list[Json], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name") or ""
        check_name(names.is_qualified_name, name, f"{path}[{index}]", errors)
        if name in seen:
            errors.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)


def _check_weight(term: Json, path: str, errors: Errors) -> None:
    weight = term.get("weight", 0)
    if not 1 <= weight <= 100:
        errors.append(invalid(f"{path}.weight", weight, "must be in the range 1-100"))


def _check_pod_term(term: Json, path: str, errors: Errors) -> None:
    check_label_selector(term.get("labelSelector"), f"{path}.labelSelector", errors)
    check_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector", errors)
    for namespace in term.get("namespaces") or ():
        check_name(names.is_dns1123_label, namespace, f"{path}.namespace", errors)
    _check_label_keys(term, path, errors)
    key = term.get("topologyKey") or ""
    if not key:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    check_name(names.is_qualified_name, key, f"{path}.topologyKey", errors)


def _check_label_keys(term: Json, path: str, errors: Errors) -> None:
    """matchLabelKeys and mismatchLabelKeys; the server itself merges the former into the selector's expressions."""
    match, mismatch, selector = (
        term.get("matchLabelKeys") or [],
        term.get("mismatchLabelKeys") or [],
        term.get("labelSelector"),
    )
    for field, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            errors.append(forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set"))
        elif keys:
            for index, key in enumerate(keys):
                check_name(names.is_qualified_name, key, f"{path}.{field}[{index}]", errors)
    if match and selector:
        seen = set(selector.get("matchLabels") or {})
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key") or ""
            if key in match and key in seen:
                errors.append(invalid(f"{path}[{match.index(key)}]", key, IN_BOTH))
            seen.add(key)
    for index, key in enumerate(match):
        if key in mismatch:
            errors.append(
                invalid(f"{path}.matchLabelKeys[{index}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")
            )
