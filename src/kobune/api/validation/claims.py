"""PersistentVolumeClaims, alone and as templates."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import IMMUTABLE, forbidden, invalid, not_supported, required
from kobune.api.validation.checks import Errors, check_immutable, check_name, difference, same
from kobune.api.validation.metadata import check_annotations, check_labels
from kobune.api.validation.quantities import check_amount, check_positive_amount, is_native, parse
from kobune.api.validation.selectors import check_label_selector

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
RESIZE_STATUSES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip


def check_claim(claim: Json, errors: Errors) -> None:
    check_claim_spec(claim.get("spec") or {}, "spec", errors)


def check_claim_update(new: Json, old: Json, errors: Errors) -> None:
    check_claim(new, errors)
    before, after = dict(old.get("spec") or {}), dict(new.get("spec") or {})
    bound = (new.get("status") or {}).get("phase") == "Bound"
    old_size, new_size = _size(before), _size(after)
    class_before = before.get("volumeAttributesClassName")
    if not before.get("volumeName"):
        before["volumeName"] = after.get("volumeName")
    _forgive_class(new, old, after, before, errors)
    if bound:
        after["volumeAttributesClassName"] = class_before
        if "requests" in (after.get("resources") or {}):
            after["resources"] = {
                **after["resources"],
                "requests": {**after["resources"]["requests"], "storage": old_size},
            }
    if not same(after, before):
        detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"
        errors.append(forbidden("spec", detail + "\n".join(difference(before, after))))
    if new_size is not None and old_size is not None and parse(new_size) < parse(old_size):
        reached = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
        if parse(new_size) <= parse(reached):
            errors.append(forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
    check_immutable(new.get("spec") or {}, old.get("spec") or {}, "volumeMode", "volumeMode", errors)
    wanted = (new.get("spec") or {}).get("volumeAttributesClassName")
    if (
        wanted != class_before
        and (old.get("status") or {}).get("currentVolumeAttributesClassName") is not None
        and not wanted
    ):
        how = "nil" if wanted is None else "empty string"
        detail = f"update to {how} is forbidden when status.currentVolumeAttributesClassName is not nil"
        errors.append(forbidden("spec.volumeAttributesClassName", detail))


def check_claim_status(new: Json, old: Json, errors: Errors) -> None:
    if not (new.get("spec") or {}).get("accessModes"):
        errors.append(required("Spec.accessModes"))
    status = new.get("status") or {}
    for name, amount in (status.get("capacity") or {}).items():
        if parse(amount) < 0:
            errors.append(invalid(f"status.capacity[{name}]", int(parse(amount)), "must be a valid resource quantity"))
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        _check_resource(name, "status.allocatedResourceStatuses", errors)
        if state not in RESIZE_STATUSES:
            errors.append(not_supported("status.allocatedResourceStatuses", name, sorted(RESIZE_STATUSES)))
    for name, amount in (status.get("allocatedResources") or {}).items():
        _check_resource(name, "status.allocatedResources", errors)
        check_amount("storage", amount, f"status.allocatedResources[{name}]", errors)


def check_claim_template(template: Json, path: str, errors: Errors) -> None:
    """The template of an ephemeral volume; of its metadata only labels and annotations may be set."""
    metadata = template.get("metadata") or {}
    check_annotations(metadata.get("annotations"), f"{path}.metadata.annotations", errors)
    check_labels(metadata.get("labels"), f"{path}.metadata.labels", errors)
    for field, value in metadata.items():
        if value and field not in ("annotations", "labels"):
            errors.append(forbidden(f"{path}.metadata.{field}", "cannot be set"))
    check_claim_spec(template.get("spec") or {}, f"{path}.spec", errors)


def check_claim_spec(spec: Json, path: str, errors: Errors) -> None:
    modes = spec.get("accessModes") or []
    if not modes:
        errors.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    if spec.get("selector") is not None:
        check_label_selector(spec["selector"], f"{path}.selector", errors)
    check_access_modes(modes, path, errors)
    size = _size(spec)
    at = f"{path}.resources[storage]"
    if size is None:
        errors.append(required(at))
    else:
        check_positive_amount(size, at, errors)
    for field in ("storageClassName", "volumeAttributesClassName"):
        if spec.get(field):
            check_name(names.is_dns1123_subdomain, spec[field], f"{path}.{field}", errors)
    check_volume_mode(spec, path, errors)
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, value in (("dataSource", source), ("dataSourceRef", reference)):
        if value is not None:
            _check_source(value, f"{path}.{field}", errors)
    if source is not None and reference is not None:
        if reference.get("namespace"):
            errors.append(
                invalid(path, f"{path}.dataSource", "may not be specified when dataSourceRef.namespace is specified")
            )
        elif any(source.get(field) != reference.get(field) for field in ("apiGroup", "kind", "name")):
            errors.append(invalid(path, f"{path}.dataSource", "must match dataSourceRef"))


def check_access_modes(modes: list[str], path: str, errors: Errors) -> None:
    for mode in modes:
        if mode not in ACCESS_MODES:
            errors.append(not_supported(f"{path}.accessModes", mode, ACCESS_MODES))
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        errors.append(forbidden(f"{path}.accessModes", "may not use ReadWriteOncePod with other access modes"))


def check_volume_mode(spec: Json, path: str, errors: Errors) -> None:
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(not_supported(f"{path}.volumeMode", mode, VOLUME_MODES))


def _size(spec: Json) -> str | None:
    return ((spec.get("resources") or {}).get("requests") or {}).get("storage")


def _check_source(source: Json, path: str, errors: Errors) -> None:
    for field in ("name", "kind"):
        if not source.get(field):
            errors.append(required(f"{path}.{field}"))
    group = source.get("apiGroup") or ""
    if not group and source.get("kind") != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid(path, source.get("kind") or "", detail))
    if group:
        check_name(names.is_dns1123_subdomain, group, f"{path}.apiGroup", errors)
    if source.get("namespace"):
        check_name(names.is_dns1123_label, source["namespace"], f"{path}.namespace", errors)


def _forgive_class(new: Json, old: Json, after: Json, before: Json, errors: Errors) -> None:
    """A claim without a class may get one once, the one of its annotation if it has that."""
    was = ((old.get("metadata") or {}).get("annotations") or {}).get(CLASS_ANNOTATION)
    now = ((new.get("metadata") or {}).get("annotations") or {}).get(CLASS_ANNOTATION)
    wanted, had = after.get("storageClassName"), before.get("storageClassName")
    if was is not None and had is None and wanted == was and now in (None, was):
        after.pop("storageClassName", None)
        return
    if (was or "") != (now or ""):
        errors.append(invalid(f"metadata.annotations.{CLASS_ANNOTATION}", now or "", IMMUTABLE))
    if wanted is not None and had is None and was in (None, wanted):
        after.pop("storageClassName", None)


def _check_resource(name: str, path: str, errors: Errors) -> None:
    wrong = names.is_qualified_name(name)
    errors.extend(invalid(path, name, message) for message in wrong)
    if not wrong and is_native(name) and name != "storage":
        errors.append(not_supported(path, name, ("storage",)))
