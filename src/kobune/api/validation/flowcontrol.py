"""FlowSchemas and PriorityLevelConfigurations."""

import math

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_supported, required
from kobune.api.validation.checks import Errors, check_name, check_present, check_range, check_required_name, same
from kobune.api.validation.kinds import Create, Rules

MAX_PRECEDENCE, MAX_QUEUES, MAX_HASH_BITS = 10_000, 10_000_000, 60
EXEMPT = "exempt"
METHODS = ("ByNamespace", "ByUser")
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
PRESERVED_ZERO = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"
SHARES, OLD_SHARES = "nominalConcurrencyShares", "assuredConcurrencyShares"

_EVERYTHING = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _groups(*groups: str) -> list[Json]:
    return [{"kind": "Group", "group": {"name": group}} for group in groups]


# The objects that are always there, whose specs nobody may change.
MANDATORY_SCHEMAS: dict[str, Json] = {
    EXEMPT: {
        "matchingPrecedence": 1,
        "priorityLevelConfiguration": {"name": EXEMPT},
        "rules": [{"subjects": _groups("system:masters"), **_EVERYTHING}],
    },
    "catch-all": {
        "matchingPrecedence": MAX_PRECEDENCE,
        "priorityLevelConfiguration": {"name": "catch-all"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": _groups("system:unauthenticated", "system:authenticated"), **_EVERYTHING}],
    },
}
CATCH_ALL_LEVEL: Json = {
    "type": "Limited",
    "limited": {SHARES: 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
}


def check_schema(schema: Json, errors: Errors) -> None:
    name, spec = (schema.get("metadata") or {}).get("name") or "", schema.get("spec") or {}
    precedence, method = spec.get("matchingPrecedence", 0), spec.get("distinguisherMethod")
    at = "spec.matchingPrecedence"
    if precedence <= 0:
        errors.append(invalid(at, precedence, "must be a positive value"))
    if precedence > MAX_PRECEDENCE:
        errors.append(invalid(at, precedence, f"must not be greater than {MAX_PRECEDENCE}"))
    if precedence == 1 and name != EXEMPT:
        errors.append(invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
    if method is not None and method.get("type") not in METHODS:
        shown = {"Type": method.get("type") or ""}
        errors.append(not_supported("spec.distinguisherMethod.type", shown, METHODS))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name")
    if check_present(level, "spec.priorityLevelConfiguration.name", errors, "must reference a priority level"):
        check_name(names.is_dns1123_subdomain, level or "", "spec.priorityLevelConfiguration.name", errors)
    for index, rule in enumerate(spec.get("rules") or ()):
        _check_rule(rule, f"spec.rules[{index}]", errors)
    if name in MANDATORY_SCHEMAS and not same(spec, MANDATORY_SCHEMAS[name]):
        errors.append(invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))
    check_status(schema, {}, errors)


def check_level(level: Json, errors: Errors) -> None:
    _check_level(level, SHARES, errors)


def check_old_level(level: Json, errors: Errors) -> None:
    """Of v1beta1 and v1beta2."""
    _check_level(level, OLD_SHARES, errors)


def check_status(new: Json, old: Json, errors: Errors) -> None:
    seen = set()
    for index, condition in enumerate((new.get("status") or {}).get("conditions") or ()):
        path, kind = f"status.conditions[{index}].type", condition.get("type") or ""
        if kind in seen:
            errors.append(duplicate(path, kind))
        seen.add(kind)
        check_present(kind, path, errors)


def _check_rule(rule: Json, path: str, errors: Errors) -> None:
    subjects = rule.get("subjects")
    check_present(subjects, f"{path}.subjects", errors, "subjects must contain at least one value")
    for index, subject in enumerate(subjects or ()):
        _check_subject(subject, f"{path}.subjects[{index}]", errors)
    resources, others = rule.get("resourceRules"), rule.get("nonResourceRules")
    if not resources and not others:
        detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(required(path, detail))
    for index, each in enumerate(resources or ()):
        _check_resource_rule(each, f"{path}.resourceRules[{index}]", errors)
    for index, each in enumerate(others or ()):
        at = f"{path}.nonResourceRules[{index}]"
        _check_verbs(each, at, errors)
        urls = each.get("nonResourceURLs") or []
        if _check_listed(
            urls,
            "nonResourceURLs must contain at least one value",
            "non-resource URLs",
            f"{at}.nonResourceURLs",
            errors,
        ):
            for position, url in enumerate(urls):
                _check_url(url, f"{at}.nonResourceURLs[{position}]", errors)


def _check_subject(subject: Json, path: str, errors: Errors) -> None:
    kind = subject.get("kind") or ""
    if kind not in SUBJECTS:
        errors.append(not_supported(f"{path}.kind", kind, tuple(SUBJECTS)))
        return
    own = SUBJECTS[kind]
    value = subject.get(own)
    if value is None:
        errors.append(required(f"{path}.{own}", f"{own} is required when subject kind is '{kind}'"))
    elif kind != "ServiceAccount":
        check_present(value.get("name"), f"{path}.{own}.name", errors)
    else:
        if value.get("name") != "*":
            check_required_name(names.is_dns1123_subdomain, value.get("name"), f"{path}.{own}.name", errors)
        namespace, at = value.get("namespace"), f"{path}.{own}.namespace"
        if check_present(namespace, at, errors, "must specify namespace for service account"):
            check_name(names.is_dns1123_label, namespace, at, errors)
    for other, field in SUBJECTS.items():
        if other != kind and subject.get(field) is not None:
            errors.append(forbidden(f"{path}.{field}", f"{field} is forbidden when subject kind is not '{other}'"))


def _check_resource_rule(rule: Json, path: str, errors: Errors) -> None:
    _check_verbs(rule, path, errors)
    for field, one, many in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        missing = f"resource rules must supply at least one {one}"
        _check_listed(rule.get(field) or [], missing, many, f"{path}.{field}", errors)
    namespaces, at = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and rule.get("clusterScope"):
        return
    missing = "resource rules that are not cluster scoped must supply at least one namespace"
    if _check_listed(namespaces, missing, "namespaces", at, errors):
        for index, namespace in enumerate(namespaces):
            for message in names.is_dns1123_label(namespace):
                detail = f"each member of this list must be '*' or a DNS-1123 label; {message}"
                errors.append(invalid(f"{at}[{index}]", namespace, detail))


def _check_verbs(rule: Json, path: str, errors: Errors) -> None:
    verbs = rule.get("verbs") or []
    one_by_one = _check_listed(verbs, "verbs must contain at least one value", "verbs", f"{path}.verbs", errors)
    if one_by_one and not set(verbs) <= set(VERBS):
        errors.append(not_supported(f"{path}.verbs", verbs, VERBS))


def _check_listed(values: list[str], missing: str, what: str, path: str, errors: Errors) -> bool:
    """Whether each of the values is to be judged on its own: there are some, and none is the star."""
    if not check_present(values, path, errors, missing):
        return False
    if "*" in values and len(values) > 1:
        errors.append(invalid(path, values, f"if '*' is present, must not specify other {what}"))
    return "*" not in values


def _check_url(url: str, path: str, errors: Errors) -> None:
    if not url:
        errors.append(invalid(path, url, "must not be empty"))
    elif url == "/":
        return
    elif not url.startswith("/"):
        errors.append(invalid(path, url, "must start with slash"))
    elif " " in url:
        errors.append(invalid(path, url, "must not contain white-space"))
    elif "//" in url:
        errors.append(invalid(path, url, "must not contain double slash"))
    elif url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        errors.append(invalid(path, url, "wildcard can only do suffix matching"))


def _check_level(level: Json, shares: str, errors: Errors) -> None:
    metadata, spec = level.get("metadata") or {}, level.get("spec") or {}
    name, kind = metadata.get("name") or "", spec.get("type") or ""
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if shares == SHARES and PRESERVED_ZERO in (metadata.get("annotations") or {}):
        errors.append(forbidden("metadata.annotations", f"annotation '{PRESERVED_ZERO}' is forbidden"))
    if (name == EXEMPT) != (kind == "Exempt"):
        errors.append(invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            errors.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
        _check_shares(exempt or {}, SHARES, "spec.exempt", errors)
    elif kind == "Limited":
        if exempt is not None:
            errors.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            errors.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            _check_limited(limited, shares, errors)
    else:
        errors.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    _check_mandatory(name, spec, shares, errors)
    check_status(level, {}, errors)


def _check_mandatory(name: str, spec: Json, shares: str, errors: Errors) -> None:
    if name == EXEMPT and not same({**spec, "exempt": None}, {"type": "Exempt"}):
        detail = f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
        errors.append(invalid("spec", spec, detail))
    elif name == "catch-all":
        limited = dict(spec.get("limited") or {})
        if shares != SHARES:
            limited[SHARES] = limited.pop(shares, None)
        if not same({**spec, "limited": limited}, CATCH_ALL_LEVEL):
            errors.append(invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))


def _check_shares(part: Json, shares: str, path: str, errors: Errors) -> None:
    if part.get(shares, 0) < 0:
        errors.append(invalid(f"{path}.{shares}", part[shares], "must be a non-negative integer"))
    check_range(part.get("lendablePercent"), 0, 100, f"{path}.lendablePercent", errors)


def _check_limited(limited: Json, shares: str, errors: Errors) -> None:
    _check_shares(limited, shares, "spec.limited", errors)
    response, path = limited.get("limitResponse") or {}, "spec.limited.limitResponse"
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            errors.append(forbidden(f"{path}.queuing", "must be nil if limited.limitResponse.type is not Limited"))
    elif kind == "Queue":
        if queuing is None:
            detail = "must not be empty if limited.limitResponse.type is Limited"
            errors.append(required(f"{path}.queuing", detail))
        else:
            _check_queuing(queuing, f"{path}.queuing", errors)
    else:
        errors.append(not_supported(f"{path}.type", kind, ("Queue", "Reject")))
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        errors.append(invalid("spec.limited.borrowingLimitPercent", borrowing, detail))


def _check_queuing(queuing: Json, path: str, errors: Errors) -> None:
    length, queues, hand = (queuing.get(field, 0) for field in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        errors.append(invalid(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        errors.append(invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > MAX_QUEUES:
        errors.append(invalid(f"{path}.queues", queues, f"must not be greater than {MAX_QUEUES}"))
    if hand <= 0:
        errors.append(invalid(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        errors.append(invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > MAX_HASH_BITS:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        )
        errors.append(invalid(f"{path}.handSize", hand, detail))


def _level_rules(check: Create) -> Rules:
    return Rules(check, subresources={"status": check_status})


RULES = {
    "FlowSchema": Rules(check_schema, subresources={"status": check_status}),
    "PriorityLevelConfiguration": _level_rules(check_level),
    "v1beta1/PriorityLevelConfiguration": _level_rules(check_old_level),
    "v1beta2/PriorityLevelConfiguration": _level_rules(check_old_level),
}
