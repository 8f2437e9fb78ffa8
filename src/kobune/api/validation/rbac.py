"""Roles and their bindings."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import invalid, not_supported, required
from kobune.api.validation.checks import Errors, check_name, check_present, check_required_name, check_supported
from kobune.api.validation.kinds import Rules, path_name
from kobune.api.validation.selectors import check_label_selector

GROUP = "rbac.authorization.k8s.io"
SUBJECTS = ("ServiceAccount", "User", "Group")
REFERENCE = {"apiGroup": "APIGroup", "kind": "Kind", "name": "Name"}  # As upstream's errors call them.


def check_role(role: Json, errors: Errors) -> None:
    for index, rule in enumerate(role.get("rules") or ()):
        _check_rule(rule, f"rules[{index}]", errors, namespaced=True)


def check_cluster_role(role: Json, errors: Errors) -> None:
    for index, rule in enumerate(role.get("rules") or ()):
        _check_rule(rule, f"rules[{index}]", errors, namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is not None:
        selectors, path = aggregation.get("clusterRoleSelectors"), "aggregationRule.clusterRoleSelectors"
        check_present(
            selectors, path, errors, "at least one clusterRoleSelector required if aggregationRule is non-nil"
        )
        for index, selector in enumerate(selectors or ()):
            check_label_selector(selector, f"{path}[{index}]", errors)


def check_binding(binding: Json, errors: Errors) -> None:
    _check_binding(binding, ("Role", "ClusterRole"), errors, namespaced=True)


def check_cluster_binding(binding: Json, errors: Errors) -> None:
    _check_binding(binding, ("ClusterRole",), errors, namespaced=False)


def check_binding_update(new: Json, old: Json, errors: Errors) -> None:
    check_binding(new, errors)
    _check_same_role(new, old, errors)


def check_cluster_binding_update(new: Json, old: Json, errors: Errors) -> None:
    check_cluster_binding(new, errors)
    _check_same_role(new, old, errors)


def _check_rule(rule: Json, path: str, errors: Errors, *, namespaced: bool) -> None:
    check_present(rule.get("verbs"), f"{path}.verbs", errors, "verbs must contain at least one value")
    urls = rule.get("nonResourceURLs")
    if urls:
        at = f"{path}.nonResourceURLs"
        if namespaced:
            errors.append(invalid(at, urls, "namespaced rules cannot apply to non-resource URLs"))
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            errors.append(invalid(at, urls, "rules cannot apply to both regular resources and non-resource URLs"))
        return
    for field, what in (("apiGroups", "api group"), ("resources", "resource")):
        check_present(rule.get(field), f"{path}.{field}", errors, f"resource rules must supply at least one {what}")


def _check_binding(binding: Json, kinds: tuple[str, ...], errors: Errors, *, namespaced: bool) -> None:
    role = binding.get("roleRef") or {}
    check_supported(role.get("apiGroup"), (GROUP,), "roleRef.apiGroup", errors)
    check_supported(role.get("kind"), kinds, "roleRef.kind", errors)
    check_required_name(names.is_path_segment_name, role.get("name"), "roleRef.name", errors)
    for index, subject in enumerate(binding.get("subjects") or ()):
        _check_subject(subject, f"subjects[{index}]", errors, namespaced=namespaced)


def _check_subject(subject: Json, path: str, errors: Errors, *, namespaced: bool) -> None:
    kind, name, group = (subject.get(field) or "" for field in ("kind", "name", "apiGroup"))
    check_present(name, f"{path}.name", errors)
    if kind == "ServiceAccount":
        if name:
            check_name(names.is_dns1123_subdomain, name, f"{path}.name", errors)
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in SUBJECTS:
        check_supported(group, (GROUP,), f"{path}.apiGroup", errors)
    else:
        errors.append(not_supported(f"{path}.kind", kind, SUBJECTS))


def _check_same_role(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("roleRef") or {}, old.get("roleRef") or {}
    if any(after.get(field) != before.get(field) for field in REFERENCE):
        shown = {name: after.get(field) or "" for field, name in REFERENCE.items()}
        errors.append(invalid("roleRef", shown, "cannot change roleRef"))


RULES = {
    "ClusterRole": Rules(check_cluster_role, name=path_name),
    "ClusterRoleBinding": Rules(check_cluster_binding, check_cluster_binding_update, name=path_name),
    "Role": Rules(check_role, name=path_name),
    "RoleBinding": Rules(check_binding, check_binding_update, name=path_name),
}
