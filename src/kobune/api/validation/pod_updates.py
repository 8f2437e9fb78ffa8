"""What may change in a pod once it is there: by update, and through its subresources."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required
from kobune.api.validation.affinity import REQUIRED
from kobune.api.validation.annotations import check_annotation_changes
from kobune.api.validation.checks import MAX_INT32, Errors, difference, same
from kobune.api.validation.pods import MIRROR, check_pod_and_spec

UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
RESIZABLE = ("cpu", "memory")


def check_pod_update(new: Json, old: Json, errors: Errors) -> None:
    check_pod_and_spec(new, errors)
    _check_annotations(new, old, errors)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        if len(after.get(field) or ()) != len(before.get(field) or ()):
            errors.append(forbidden(f"spec.{field}", "pod updates may not add or remove containers"))
            return
        for index, container in enumerate(after.get(field) or ()):
            image = container.get("image") or ""
            if not image:
                errors.append(required(f"spec.{field}[{index}].image"))
            if image != image.strip():
                detail = "must not have leading or trailing whitespace"
                errors.append(invalid(f"spec.{field}[{index}].image", image, detail))
    if not _check_deadline(after, before, errors):
        return
    _check_tolerations(after, before, errors)
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for index, gate in enumerate(after.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.append(forbidden(f"spec.schedulingGates[{index}].name", detail))
    if same(after, before):
        return
    rest = _forgiven(after, before)
    if before.get("schedulingGates"):
        _forgive_gated(rest, before, errors)
    if not same(rest, before):
        errors.append(forbidden("spec", f"{UPDATABLE}\n" + "\n".join(difference(before, rest))))


def check_ephemeral_update(new: Json, old: Json, errors: Errors) -> None:
    """Through the subresource `ephemeralcontainers`: they may only be added."""
    if MIRROR in ((old.get("metadata") or {}).get("annotations") or {}):
        errors[:] = [forbidden("", "static pods do not support ephemeral containers")]
        return
    check_pod_and_spec(new, errors)
    _check_annotations(new, old, errors)
    present = {each.get("name"): each for each in (new.get("spec") or {}).get("ephemeralContainers") or ()}
    for each in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = each.get("name")
        if name not in present:
            detail = f'existing ephemeral containers "{name}" may not be removed\n'
            errors.append(forbidden("spec.ephemeralContainers", detail))
        elif not same(present[name], each):
            changes = "\n".join(difference(each, present[name]))
            detail = f'existing ephemeral containers "{name}" may not be changed\n{changes}'
            errors.append(forbidden("spec.ephemeralContainers", detail))


def check_resize(new: Json, old: Json, errors: Errors) -> None:
    """Through the subresource `resize`: cpu and memory of containers may change, nothing else."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if MIRROR in ((old.get("metadata") or {}).get("annotations") or {}):
        errors[:] = [forbidden("", "static pods cannot be resized")]
        return
    if (before.get("os") or {}).get("name") == "windows":
        errors[:] = [forbidden("", "windows pods cannot be resized")]
        return
    check_pod_and_spec(new, errors)
    statuses = (old.get("status") or {}).get("containerStatuses") or ()
    running = next((each for each in statuses if "running" in (each.get("state") or {})), None)
    if running is not None and "resources" not in running:
        errors.append(forbidden("spec", "Pod running on node without support for resize"))
    if _check_order(after, before, errors):
        rest = _check_sizes(after, before, errors)
        if not errors and not same(rest, before):
            errors.append(forbidden("spec", "only cpu and memory resources are mutable"))


def check_binding(binding: Json, errors: Errors) -> None:
    target = binding.get("target") or {}
    if target.get("kind") not in (None, "", "Node"):
        errors.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        errors.append(required("target.name"))


def _check_annotations(new: Json, old: Json, errors: Errors) -> None:
    after = (new.get("metadata") or {}).get("annotations") or {}
    before = (old.get("metadata") or {}).get("annotations") or {}
    if after != before:
        check_annotation_changes(after, before, "metadata.annotations", errors)


def _check_deadline(after: Json, before: Json, errors: Errors) -> bool:
    new, old = after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    at = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            errors.append(invalid(at, None, "must not update from a positive integer to nil value"))
        return True
    if not 0 <= new <= MAX_INT32:
        errors.append(invalid(at, new, names.in_range(0, MAX_INT32)))
        return False
    if old is not None and old < new:
        errors.append(invalid(at, new, "must be less than or equal to previous value"))
        return False
    return True


def _check_tolerations(after: Json, before: Json, errors: Errors) -> None:
    """Old ones stay, but for their seconds."""
    new = [_without_seconds(each) for each in after.get("tolerations") or ()]
    if any(_without_seconds(each) not in new for each in before.get("tolerations") or ()):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(forbidden("spec.tolerations", detail))


def _without_seconds(toleration: Json) -> Json:
    return {field: value for field, value in toleration.items() if field != "tolerationSeconds" and value}


def _forgiven(after: Json, before: Json) -> Json:
    """The new spec, with the old values where a change is allowed."""
    rest = dict(after)
    for field in ("containers", "initContainers"):
        if field in rest:
            pairs = zip(rest[field], before.get(field) or (), strict=True)
            rest[field] = [{**container, "image": other.get("image")} for container, other in pairs]
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        rest[field] = before.get(field)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and rest.get("terminationGracePeriodSeconds") == 1:
        rest["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    return rest


def _forgive_gated(rest: Json, before: Json, errors: Errors) -> None:
    """While a gate holds the pod back, where it may run can still be narrowed."""
    new, old = rest.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(new.get(key) != value for key, value in old.items()):
        detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errors.append(invalid("spec.nodeSelector", new or None, detail))
    rest["nodeSelector"] = old
    after, prior = (rest.get("affinity") or {}).get("nodeAffinity"), (before.get("affinity") or {}).get("nodeAffinity")
    if same(after, prior):
        return
    terms = ((prior or {}).get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    wanted = ((after or {}).get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    at = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
    if terms and len(terms) != len(wanted):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        errors.append(invalid(at, wanted, detail))
    else:
        for index, (was, now) in enumerate(zip(terms, wanted, strict=False)):
            if not _only_adds(now, was):
                detail = "only additions are allowed (no mutations or deletions)"
                errors.append(invalid(f"{at}[{index}]", now, detail))
    rest["affinity"] = {**(rest.get("affinity") or {}), "nodeAffinity": prior}


def _only_adds(now: Json, was: Json) -> bool:
    fields = ("matchExpressions", "matchFields")
    if not any(was.get(field) for field in fields):
        return not any(now.get(field) for field in fields)
    return all(same((now.get(field) or [])[: len(was.get(field) or ())], was.get(field)) for field in fields)


def _check_order(after: Json, before: Json, errors: Errors) -> bool:
    count = len(errors)
    for field in ("containers", "initContainers"):
        new, old = after.get(field) or [], before.get(field) or []
        if len(new) != len(old):
            errors.append(forbidden(f"spec.{field}", f"{field} may not be added or removed on resize"))
            continue
        for index, (one, other) in enumerate(zip(new, old, strict=True)):
            if one.get("name") != other.get("name"):
                detail = f"{field} may not be renamed or reordered on resize"
                errors.append(forbidden(f"spec.{field}[{index}].name", detail))
    return len(errors) == count


def _check_sizes(after: Json, before: Json, errors: Errors) -> Json:
    """The new spec, with the old cpu and memory."""
    rest = dict(after)
    for field in ("containers", "initContainers"):
        settled = []
        for index, (one, other) in enumerate(zip(after.get(field) or [], before.get(field) or [], strict=True)):
            new, old = one.get("resources") or {}, other.get("resources") or {}
            at = f"spec.{field}[{index}].resources"
            for which in ("requests", "limits"):
                if (old.get(which) or {}).keys() - (new.get(which) or {}).keys():
                    errors.append(forbidden(f"{at}.{which}", f"resource {which} cannot be removed"))
            resizable = field == "containers" or other.get("restartPolicy") == "Always"
            same_but_size = {**one, "resources": _settled(new, old)} if resizable else one
            if not same(same_but_size, other):
                detail = "only cpu and memory resources are mutable"
                if not resizable:
                    detail = "resources for non-sidecar init containers are immutable"
                errors.append(forbidden("spec", detail))
            settled.append(same_but_size)
        rest[field] = settled
    pod, was = after.get("resources"), before.get("resources")
    if was and not pod:
        errors.append(forbidden("spec.resources", "pod-level resources cannot be removed"))
    elif pod or was:
        rest["resources"] = _settled(pod or {}, was or {})
        if not same(rest["resources"], was):
            errors.append(forbidden("spec", "only cpu and memory resources are mutable at pod-level"))
    return rest


def _settled(new: Json, old: Json) -> Json:
    result = dict(new)
    for which in ("requests", "limits"):
        kept = {name: amount for name, amount in (old.get(which) or {}).items() if name in RESIZABLE}
        others = {name: amount for name, amount in (new.get(which) or {}).items() if name not in RESIZABLE}
        result[which] = {**others, **kept}
    return result
