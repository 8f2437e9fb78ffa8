"""What a definition's status says: which names it has, whether it is served, and how its end goes. Pure functions.

Source: upstream apiextensions-apiserver, pkg/controller (status, establish, apiapproval, nonstructuralschema) and pkg/apihelpers.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from kobune.api.errors import FieldError, Json, aggregated
from kobune.api.field_errors import invalid, quote
from kobune.api.timestamps import format_time
from kobune.api.validation.structural_rules import check_structural

Change = Callable[[Json], Awaitable[Json]]

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
APPROVAL = "api-approved.kubernetes.io"
NON_STRUCTURAL = "NonStructuralSchema"
# Conditions of these are no news when only their time differs.
_NAMES = (("plural", "PluralConflict"), ("singular", "SingularConflict"))
_KINDS = (("kind", "KindConflict"), ("listKind", "ListKindConflict"))


def is_true(definition: Json, condition: str) -> bool:
    return (_condition(definition, condition) or {}).get("status") == "True"


def settled(definition: Json, others: Iterable[Json], now: datetime) -> Json:
    """The definition with its names settled among the `others`, and its conditions to match; equal if nothing changes."""
    before = definition.get("status") or {}
    accepted, conflict = accepted_names(definition, others)
    status = {**before, "acceptedNames": accepted, "conditions": before.get("conditions") or []}
    if "storedVersions" not in status:
        status["storedVersions"] = [one["name"] for one in definition["spec"]["versions"] if one.get("storage")]
    result = {**definition, "status": status}
    if conflict is None:
        result = with_condition(result, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        if not is_true(result, "Established"):
            message = "the initial names have been accepted"
            result = with_condition(result, "Established", "True", "InitialNamesAccepted", message, now)
    else:
        result = with_condition(result, "NamesAccepted", "False", *conflict, now)
        if _condition(result, "Established") is None:
            result = with_condition(result, "Established", "False", "NotAccepted", "not all names are accepted", now)
    approval = _approval(definition)
    if approval is not None:
        result = with_condition(result, "KubernetesAPIApprovalPolicyConformant", *approval, now)
    violations = _violations(definition["spec"])
    if violations:
        return with_condition(result, NON_STRUCTURAL, "True", "Violations", violations, now)
    return _without_condition(result, NON_STRUCTURAL)


def _violations(spec: Json) -> str:
    """What is not structural about the schemas; "" for all that a server of today takes.

    Only what preserves unknown fields may be so, and that can only be had from the days of v1beta1. So nothing else is
    looked at again.
    """
    if not spec.get("preserveUnknownFields"):
        return ""
    errors: list[FieldError] = [invalid("spec.preserveUnknownFields", True, "must be false")]
    for index, version in enumerate(spec["versions"]):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            check_structural(schema, f"spec.versions[{index}].schema.openAPIV3Schema", errors)
    return aggregated(errors)


def accepted_names(definition: Json, others: Iterable[Json]) -> tuple[Json, tuple[str, str] | None]:
    """The names the definition may use, and why it may not use all that it wants: (reason, message)."""
    group, wanted = definition["spec"]["group"], definition["spec"]["names"]
    had = (definition.get("status") or {}).get("acceptedNames") or {}
    taken = [(one.get("status") or {}).get("acceptedNames") or {} for one in others if one["spec"]["group"] == group]
    resources = {
        name for one in taken for name in (one.get("plural"), one.get("singular"), *(one.get("shortNames") or ()))
    }
    kinds = {name for one in taken for name in (one.get("kind"), one.get("listKind"))}
    accepted: Json = {"kind": "", "plural": "", **had}
    conflict: tuple[str, str] | None = None
    for names, used in ((_NAMES, resources), (_KINDS, kinds)):
        for field, reason in names:
            name = wanted.get(field, "")
            if name != had.get(field, "") and name in used:
                conflict = (reason, f"{quote(name)} is already in use")
            elif name:
                accepted[field] = name
        if used is resources:
            conflict = _short_names(wanted, had, resources, accepted) or conflict
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    return accepted, conflict


def _short_names(wanted: Json, had: Json, used: set[str | None], accepted: Json) -> tuple[str, str] | None:
    short: Sequence[str] = wanted.get("shortNames") or ()
    refused = [name for name in short if name not in (had.get("shortNames") or ()) and name in used]
    if refused:
        complaints = [f"{quote(name)} is already in use" for name in refused]
        return "ShortNamesConflict", complaints[0] if len(complaints) == 1 else f"[{', '.join(complaints)}]"
    if short:
        accepted["shortNames"] = list(short)
    else:
        accepted.pop("shortNames", None)
    return None


def marked(definition: Json, now: datetime) -> Json:
    """The definition as a deletion leaves it: its objects go first."""
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    result = terminating(definition, "True", "InstanceDeletionPending", message, now)
    finalizers = result["metadata"].get("finalizers") or []
    if FINALIZER not in finalizers:
        result = {**result, "metadata": {**result["metadata"], "finalizers": [*finalizers, FINALIZER]}}
    return result


def terminating(definition: Json, status: str, reason: str, message: str, now: datetime) -> Json:
    return with_condition(definition, "Terminating", status, reason, message, now)


def with_condition(definition: Json, kind: str, status: str, reason: str, message: str, now: datetime) -> Json:
    """The definition with a condition; its time is that of the last change of its status."""
    conditions: list[Json] = list((definition.get("status") or {}).get("conditions") or ())
    old = next((one for one in conditions if one.get("type") == kind), None)
    new = {"type": kind, "status": status, "reason": reason, "message": message}
    if old is not None and all(old.get(field) == value for field, value in new.items()):
        return definition
    is_turned = old is None or old.get("status") != status
    moment = format_time(now) if is_turned or old is None else old.get("lastTransitionTime")
    entry = {"lastTransitionTime": moment, "message": message, "reason": reason, "status": status, "type": kind}
    if old is None:
        conditions.append(entry)
    else:
        conditions[conditions.index(old)] = entry
    return {**definition, "status": {**(definition.get("status") or {}), "conditions": conditions}}


def _without_condition(definition: Json, kind: str) -> Json:
    if _condition(definition, kind) is None:
        return definition
    kept = [one for one in definition["status"]["conditions"] if one.get("type") != kind]
    return {**definition, "status": {**definition["status"], "conditions": kept}}


def _condition(definition: Json, kind: str) -> Json | None:
    conditions: list[Json] = (definition.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), None)


def is_protected(group: str) -> bool:
    """Whether a group belongs to the Kubernetes project."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def _approval(definition: Json) -> tuple[str, str, str] | None:
    """Status, reason and message of the approval condition; None for groups that need none."""
    if not is_protected(definition["spec"]["group"]):
        return None
    text = (definition["metadata"].get("annotations") or {}).get(APPROVAL, "")
    if not text:
        message = f'protected groups must have approval annotation "{APPROVAL}", see https://github.com/kubernetes/enhancements/pull/1111'
        return "False", "MissingAnnotation", message
    if text.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f"not approved: {quote(text)}"
    url = urlsplit(text)
    if url.scheme and url.netloc:
        return "True", "ApprovedAnnotation", f"approved in {text}"
    message = f'protected groups must have approval annotation "{APPROVAL}" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
    return "False", "InvalidAnnotation", message
