"""The storage group: classes, attachments, and what CSI drivers say of themselves."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import (
    IMMUTABLE,
    NOT_NEGATIVE,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from kobune.api.validation.checks import (
    Errors,
    check_immutable,
    check_name,
    check_not_negative,
    check_one_of,
    check_present,
    same,
)
from kobune.api.validation.kinds import Rules
from kobune.api.validation.persistentvolumes import check_volume_spec
from kobune.api.validation.quantities import parse
from kobune.api.validation.selectors import check_label_selector
from kobune.api.validation.volumes import check_driver_name

MAX_PARAMETERS, PARAMETERS_SIZE = 512, 256 * 1024
METADATA_SIZE, LONGEST_MESSAGE, LONGEST_NODE_ID = 256 * 1024, 1024, 256
SHORTEST_TOKEN, LONGEST_TOKEN, SHORTEST_PERIOD = 600, 2**32, 10
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLES = ("Persistent", "Ephemeral")
# Their field, and what upstream's errors call it.
SWITCHES = {
    "attachRequired": "attachedRequired", "podInfoOnMount": "podInfoOnMount", "storageCapacity": "storageCapacity",
}  # fmt: skip
EITHER = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
NO_REQUESTS = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"


def check_class(storage: Json, errors: Errors) -> None:
    _check_provisioner(storage.get("provisioner"), "provisioner", errors)
    _check_parameters(storage.get("parameters") or {}, errors)
    policy = storage.get("reclaimPolicy")
    if policy and policy not in ("Delete", "Retain"):
        errors.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    check_one_of(storage.get("volumeBindingMode"), BINDING_MODES, "volumeBindingMode", errors)
    seen: list[dict[str, set[str]]] = []
    for index, term in enumerate(storage.get("allowedTopologies") or ()):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        topology = _check_topology(term, path, errors)
        if topology in seen:
            errors.append(duplicate(path, ""))
        seen.append(topology)


def check_class_update(new: Json, old: Json, errors: Errors) -> None:
    check_class(new, errors)
    for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        check_immutable(new, old, field, field, errors)


def check_attributes_class(attributes: Json, errors: Errors) -> None:
    _check_provisioner(attributes.get("driverName"), "driverName", errors)
    _check_parameters(attributes.get("parameters") or {}, errors)
    check_present(attributes.get("parameters"), "parameters", errors, "must contain at least one key/value pair")


def check_attributes_class_update(new: Json, old: Json, errors: Errors) -> None:
    for field in ("driverName", "parameters"):
        if not same(new.get(field), old.get(field)):
            errors.append(forbidden(field, f"updates to {field} are forbidden."))
    check_attributes_class(new, errors)


def check_attachment(attachment: Json, errors: Errors) -> None:
    spec = attachment.get("spec") or {}
    check_driver_name(spec.get("attacher"), "spec.attacher", errors)
    source = spec.get("source") or {}
    volume, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if volume is None and inline is None:
        errors.append(required("spec.source", EITHER))
    elif volume is not None and inline is not None:
        errors.append(forbidden("spec.source", EITHER))
    elif inline is not None:
        check_volume_spec(inline, "spec.source.inlineVolumeSpec", errors, inline=True)
    elif not volume:
        errors.append(required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName"))
    check_name(names.is_dns1123_subdomain, spec.get("nodeName") or "", "spec.nodeName", errors)
    check_attachment_status(attachment, {}, errors)
    if volume is not None:
        check_name(names.is_dns1123_subdomain, volume, "spec.source.persistentVolumeName", errors)


def check_attachment_update(new: Json, old: Json, errors: Errors) -> None:
    check_attachment(new, errors)
    check_immutable(new, old, "spec", "spec", errors)


def check_attachment_status(new: Json, old: Json, errors: Errors) -> None:
    status = new.get("status") or {}
    if _size(status.get("attachmentMetadata") or {}) > METADATA_SIZE:
        errors.append(too_long("status.attachmentMetadata", METADATA_SIZE))
    for field in ("attachError", "detachError"):
        error = status.get(field) or {}
        if len((error.get("message") or "").encode()) > LONGEST_MESSAGE:
            errors.append(too_long(f"status.{field}.message", METADATA_SIZE))
        if error.get("errorCode", 0) < 0:
            errors.append(invalid(f"status.{field}.errorCode", error["errorCode"], names.in_range(0, 2**31 - 1)))


def check_node(node: Json, errors: Errors) -> None:
    seen: set[str] = set()
    for index, driver in enumerate(_drivers(node)):
        path = f"spec.drivers[{index}]"
        name, node_id = driver.get("name") or "", driver.get("nodeID") or ""
        check_driver_name(name, f"{path}.name", errors)
        check_present(node_id, f"{path}.nodeID", errors)
        if len(node_id.encode()) > LONGEST_NODE_ID:
            errors.append(invalid(f"{path}.nodeID", node_id, f"must be {LONGEST_NODE_ID} characters or less"))
        check_not_negative(driver.get("allocatable") or {}, "count", f"{path}.allocatable", errors)
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        keys: set[str] = set()
        for key in driver.get("topologyKeys") or ():
            check_present(key, path, errors)
            if key in keys:
                errors.append(duplicate(path, key))
            keys.add(key)
            check_name(names.is_qualified_name, key, path, errors)


def check_node_update(new: Json, old: Json, errors: Errors) -> None:
    """A driver's entry may come and go, but only its allocatable changes."""
    check_node(new, errors)
    for before in _drivers(old):
        for after in _drivers(new):
            if before.get("name") == after.get("name"):
                fixed = [{**each, "allocatable": None} for each in (after, before)]
                if not same(*fixed):
                    errors.append(invalid("spec.drivers", fixed[0], IMMUTABLE))


def check_driver(driver: Json, errors: Errors) -> None:
    spec = driver.get("spec") or {}
    for field, shown in SWITCHES.items():
        if spec.get(field) is None:
            errors.append(required(f"spec.{shown}"))
    policy, requests = spec.get("fsGroupPolicy"), spec.get("tokenRequests") or []
    if policy is not None and policy not in GROUP_POLICIES:
        errors.append(not_supported("spec.fsGroupPolicy", policy, GROUP_POLICIES))
    _check_token_requests(requests, errors)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in LIFECYCLES:
            errors.append(not_supported("spec.volumeLifecycleModes", mode, LIFECYCLES))
    if spec.get("seLinuxMount") is None:
        errors.append(required("spec.seLinuxMount"))
    period, in_secrets = spec.get("nodeAllocatableUpdatePeriodSeconds"), spec.get("serviceAccountTokenInSecrets")
    if period is not None and period < SHORTEST_PERIOD:
        detail = f"must be greater than or equal to {SHORTEST_PERIOD} seconds"
        errors.append(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, detail))
    if in_secrets is not None and not requests:
        errors.append(invalid("spec.serviceAccountTokenInSecrets", in_secrets, NO_REQUESTS))


def check_driver_update(new: Json, old: Json, errors: Errors) -> None:
    check_driver(new, errors)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field, shown in (("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")):
        if after.get(field) != before.get(field):
            errors.append(invalid(f"spec.{shown}", after.get(field), IMMUTABLE))


def check_capacity(capacity: Json, errors: Errors) -> None:
    check_label_selector(capacity.get("nodeTopology"), "nodeTopology", errors)
    check_name(names.is_dns1123_subdomain, capacity.get("storageClassName") or "", "storageClassName", errors)
    amount = capacity.get("capacity")
    if amount is not None and parse(amount) < 0:
        errors.append(invalid("capacity", amount, NOT_NEGATIVE))


def check_capacity_update(new: Json, old: Json, errors: Errors) -> None:
    check_capacity(new, errors)
    for field in ("nodeTopology", "storageClassName"):
        check_immutable(new, old, field, field, errors)


def _drivers(node: Json) -> list[Json]:
    return (node.get("spec") or {}).get("drivers") or []


def _size(values: dict[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in values.items())


def _check_provisioner(name: str | None, path: str, errors: Errors) -> None:
    if check_present(name, path, errors):
        lowered = (name or "").lower()
        check_name(names.is_qualified_name, lowered, path, errors)


def _check_parameters(parameters: dict[str, str], errors: Errors) -> None:
    if len(parameters) > MAX_PARAMETERS:
        errors.append(too_long("parameters", MAX_PARAMETERS))
        return
    if "" in parameters:
        errors.append(invalid("parameters", "", "field can not be empty."))
    if _size(parameters) > PARAMETERS_SIZE:
        errors.append(too_long("parameters", PARAMETERS_SIZE))


def _check_topology(term: Json, path: str, errors: Errors) -> dict[str, set[str]]:
    """The values of each key."""
    found: dict[str, set[str]] = {}
    for index, each in enumerate(term.get("matchLabelExpressions") or ()):
        at, key = f"{path}[{index}]", each.get("key") or ""
        check_present(each.get("values"), f"{at}.values", errors)
        values: set[str] = set()
        for position, value in enumerate(each.get("values") or ()):
            if value in values:
                errors.append(duplicate(f"{at}.values[{position}]", value))
            values.add(value)
        check_name(names.is_qualified_name, key, f"{at}.key", errors)
        if key in found:
            errors.append(duplicate(f"{at}.key", key))
        found[key] = values
    return found


def _check_token_requests(requests: list[Json], errors: Errors) -> None:
    audiences: set[str] = set()
    for index, request in enumerate(requests):
        path, audience = f"spec.tokenRequests[{index}]", request.get("audience") or ""
        seconds = request.get("expirationSeconds")
        if audience in audiences:
            errors.append(duplicate(f"{path}.audience", audience))
            continue
        audiences.add(audience)
        if seconds is not None and seconds < SHORTEST_TOKEN:
            detail = "may not specify a duration less than 10 minutes"
            errors.append(invalid(f"{path}.expirationSeconds", seconds, detail))
        if seconds is not None and seconds > LONGEST_TOKEN:
            detail = "may not specify a duration larger than 2^32 seconds"
            errors.append(invalid(f"{path}.expirationSeconds", seconds, detail))


RULES = {
    "CSIDriver": Rules(check_driver, check_driver_update),
    "CSINode": Rules(check_node, check_node_update),
    "CSIStorageCapacity": Rules(check_capacity, check_capacity_update),
    "StorageClass": Rules(check_class, check_class_update),
    "VolumeAttachment": Rules(check_attachment, check_attachment_update, {"status": check_attachment_status}),
    "VolumeAttributesClass": Rules(check_attributes_class, check_attributes_class_update),
}
