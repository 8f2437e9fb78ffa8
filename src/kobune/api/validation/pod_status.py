"""A pod's status, which its kubelet writes."""

from functools import lru_cache

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import IMMUTABLE, duplicate, forbidden, invalid
from kobune.api.validation.addresses import check_ip, is_dual_stack
from kobune.api.validation.annotations import check_annotation_changes
from kobune.api.validation.checks import Errors, check_name

SYSTEM_CONDITIONS = frozenset({"PodScheduled", "Ready", "Initialized"})
NOT_NEGATIVE = "must be a non-negative integer"
GONE = "may not be transitioned to non-terminated state"


def check_pod_status(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("status") or {}, old.get("status") or {}
    check_annotation_changes(_annotations(new), _annotations(old), "metadata.annotations", errors)
    for index, condition in enumerate(after.get("conditions") or ()):
        at = f"status.conditions[{index}]"
        if condition.get("observedGeneration", 0) < 0:
            errors.append(invalid(f"{at}.observedGeneration", condition["observedGeneration"], NOT_NEGATIVE))
        if condition.get("type") not in SYSTEM_CONDITIONS:
            check_name(_type_faults, condition.get("type") or "", f"{at}.Type", errors)
    bound, spec = (old.get("spec") or {}).get("nodeName"), new.get("spec") or {}
    if spec.get("nodeName") != bound and (spec.get("nodeName") or bound):
        errors.append(forbidden("status.nodeName", "may not be changed directly"))
    nominated = after.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        check_name(names.is_dns1123_subdomain, nominated, "status.nominatedNodeName", errors)
        if bound:
            detail = "may not be set on pods that are already bound to a node"
            errors.append(forbidden("status.nominatedNodeName", detail))
    if after.get("observedGeneration", 0) < 0:
        errors.append(invalid("status.observedGeneration", after["observedGeneration"], NOT_NEGATIVE))
    if (after.get("qosClass") or "") != (before.get("qosClass") or ""):
        errors.append(invalid("status.qosClass", after.get("qosClass") or "", IMMUTABLE))
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        if before.get(field):
            _check_transitions(after.get(field) or [], before[field], old.get("spec") or {}, field, errors)
    if after.get("resourceClaimStatuses"):
        _check_claims(after["resourceClaimStatuses"], spec, errors)
    _check_addresses(after, before, errors)


# Conditions are of a few types, on every pod.
_type_faults = lru_cache(maxsize=256)(names.is_qualified_name)


def _annotations(pod: Json) -> dict[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}


def _check_transitions(new: list[Json], old: list[Json], spec: Json, field: str, errors: Errors) -> None:
    """What has ended stays ended, unless it may start again."""
    if _restarts_all(spec) and field != "ephemeralContainerStatuses":
        return
    current = {each.get("name"): each for each in new}
    for index, status in enumerate(old):
        name = status.get("name")
        terminated = (status.get("state") or {}).get("terminated")
        if terminated is None or name not in current or "terminated" in (current[name].get("state") or {}):
            continue
        restartable = False
        if field != "ephemeralContainerStatuses":
            containers = spec.get("containers" if field == "containerStatuses" else "initContainers") or ()
            container = next((each for each in containers if each.get("name") == name), None)
            restartable = container is not None and _may_restart(container, spec, terminated.get("exitCode", 0))
        if not restartable:
            errors.append(forbidden(f"status.{field}[{index}].state", GONE))


def _restarts_all(spec: Json) -> bool:
    """Some container's exit may restart all of them."""
    return any(
        rule.get("action") == "RestartAllContainers"
        for field in ("containers", "initContainers")
        for container in spec.get(field) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _may_restart(container: Json, spec: Json, code: int) -> bool:
    """By the container's rules, else its policy, else the pod's."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes")
        if codes is not None and (code in (codes.get("values") or ())) is (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy") or "Always"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _check_claims(statuses: list[Json], spec: Json, errors: Errors) -> None:
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    seen: set[str] = set()
    for index, status in enumerate(statuses):
        at, name = f"status.resourceClaimStatuses[{index}]", status.get("name") or ""
        if name not in known:
            errors.append(invalid(f"{at}.name", name, "must match the name of an entry in `spec.resourceClaims`"))
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        seen.add(name)
        if status.get("resourceClaimName") is not None:
            check_name(names.is_dns1123_subdomain, status["resourceClaimName"], f"{at}.resourceClaimName", errors)


def _check_addresses(after: Json, before: Json, errors: Errors) -> None:
    for field in ("podIPs", "hostIPs"):
        entries = after.get(field)
        if not entries:
            continue
        if field == "hostIPs" and (after.get("hostIP") or "") != (entries[0].get("ip") or ""):
            errors.append(invalid("status.hostIPs[0].ip", entries[0].get("ip") or "", "must be equal to `hostIP`"))
        known = [each.get("ip") or "" for each in before.get(field) or ()]
        values = [each.get("ip") or "" for each in entries]
        for index, value in enumerate(values):
            check_ip(value, f"status.{field}[{index}]", errors, known)
        if len(values) > 1 and (len(values) > 2 or not is_dual_stack(values)):
            detail = "may specify no more than one IP for each IP family"
            errors.append(invalid(f"status.{field}", entries, detail))
