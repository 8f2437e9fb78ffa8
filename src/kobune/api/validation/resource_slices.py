"""ResourceSlices: the devices that a driver offers."""

import re
from typing import Any

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import (
    forbidden,
    invalid,
    not_found,
    required,
    too_long,
    too_many,
)
from kobune.api.validation.checks import Errors, check_immutable, check_name, check_present, same
from kobune.api.validation.devices import (
    CheckItem,
    check_attribute_name,
    check_binding_conditions,
    check_items,
    check_label,
    check_one_place,
    check_pool_name,
    check_taint,
)
from kobune.api.validation.quantities import is_native, parse
from kobune.api.validation.selectors import check_node_selector
from kobune.api.validation.volumes import check_driver_name

MAX_DEVICES, MAX_ADVANCED_DEVICES, MAX_COUNTER_SETS, MAX_COUNTERS, MAX_CONSUMED, MAX_TAINTS = 128, 64, 8, 32, 2, 16
MAX_ATTRIBUTES, MAX_VALUES, LONGEST_VALUE, LONGEST_KEY, MAX_CHOICES = 32, 48, 64, 96, 10
LISTS = ("bools", "ints", "strings", "versions")
SCALARS = ("bool", "int", "string", "version")
PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
OWN_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true"
    " in the ResourceSlice spec"
)
NO_OWN_PLACE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the"
    " ResourceSlice spec"
)
TWO_POLICIES = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
_NUMBER, _PRE, _BUILD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)", "[0-9a-zA-Z-]+"
SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII)


def check_slice(resource_slice: Json, errors: Errors) -> None:
    _check_spec(resource_slice.get("spec") or {}, {}, errors)


def check_slice_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    _check_spec(after, before, errors)
    check_immutable(after.get("pool") or {}, before.get("pool") or {}, "name", "spec.pool.name", errors)
    for field in ("driver", "nodeName"):
        check_immutable(after, before, field, f"spec.{field}", errors)


def _check_spec(spec: Json, old: Json, errors: Errors) -> None:
    check_driver_name(spec.get("driver"), "spec.driver", errors)
    pool = spec.get("pool") or {}
    check_pool_name(pool.get("name"), "spec.pool.name", errors)
    if pool.get("resourceSliceCount", 0) <= 0:
        errors.append(
            invalid("spec.pool.resourceSliceCount", pool.get("resourceSliceCount", 0), "must be greater than zero")
        )
    if pool.get("generation", 0) < 0:
        errors.append(invalid("spec.pool.generation", pool["generation"], "must be greater than or equal to zero"))
    _check_places(spec, "spec", "must be either unset or set to a non-empty string", errors)
    selector = spec.get("nodeSelector")
    if selector is not None and len(selector.get("nodeSelectorTerms") or ()) != 1:
        terms = selector.get("nodeSelectorTerms")
        errors.append(invalid("spec.nodeSelector.nodeSelectorTerms", terms, "must have exactly one node selector term"))
    check_one_place(spec, PLACES, ONE_PLACE, f"{ONE_PLACE}, but multiple fields are set", "spec", errors)
    devices, counters = spec.get("devices"), spec.get("sharedCounters")
    if devices is not None and counters is not None:
        errors.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    limit = MAX_ADVANCED_DEVICES if any(map(_is_advanced, devices or ())) else MAX_DEVICES
    before = {device.get("name"): device for device in old.get("devices") or ()}
    check = _device_check(before, chooses=bool(spec.get("perDeviceNodeSelection")))
    check_items(devices, limit, check, "spec.devices", errors, lambda device: device.get("name") or "")
    check_items(
        counters,
        MAX_COUNTER_SETS,
        _check_counter_set,
        "spec.sharedCounters",
        errors,
        lambda each: each.get("name") or "",
    )


def _check_places(part: Json, path: str, empty: str, errors: Errors) -> None:
    """Args: empty: what is said of an empty node name."""
    name = part.get("nodeName")
    if name:
        check_name(names.is_dns1123_subdomain, name, f"{path}.nodeName", errors)
    elif name is not None:
        errors.append(invalid(f"{path}.nodeName", name, empty))
    if part.get("nodeSelector") is not None:
        check_node_selector(part["nodeSelector"], f"{path}.nodeSelector", errors)
    for field in ("allNodes", "perDeviceNodeSelection"):
        if part.get(field) is False:
            errors.append(invalid(f"{path}.{field}", False, "must be either unset or set to true"))


def _is_advanced(device: Json) -> bool:
    attributes = (device.get("attributes") or {}).values()
    lists = any(attribute.get(field) is not None for attribute in attributes for field in LISTS)
    return bool(device.get("taints") or device.get("consumesCounters") or lists)


def _device_check(before: dict[Any, Json], *, chooses: bool) -> CheckItem:
    """Args: chooses: each device says on which nodes it is."""

    def check(device: Json, path: str, errors: Errors) -> None:
        check_label(device.get("name"), f"{path}.name", errors)
        _check_properties(device, path, errors)
        old = before.get(device.get("name"))
        if old is None or not same(old.get("taints"), device.get("taints")):
            check_items(device.get("taints"), MAX_TAINTS, check_taint, f"{path}.taints", errors)
        check_items(
            device.get("consumesCounters"), MAX_CONSUMED, _check_consumption, f"{path}.consumesCounters", errors,
            lambda each: each.get("counterSet") or "",
        )  # fmt: skip
        if chooses:
            _check_places(device, path, "must not be empty", errors)
            check_one_place(device, PLACES[:3], OWN_PLACE, OWN_PLACE, path, errors)
        elif any(device.get(field) is not None for field in PLACES[:3]):
            errors.append(invalid(path, None, NO_OWN_PLACE))
        check_binding_conditions(device, path, errors)
        capacity = device.get("capacity") or {}
        for name, mapping in (device.get("nodeAllocatableResourceMappings") or {}).items():
            _check_mapping(name, mapping, capacity, f"{path}.nodeAllocatableResourceMappings[{name}]", errors)

    return check


def _check_properties(device: Json, path: str, errors: Errors) -> None:
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    count = len(attributes) + len(capacity)
    if count > MAX_ATTRIBUTES:
        detail = f"the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}"
        errors.append(invalid(path, count, detail))
    values = sum(sum(len(each.get(field) or ()) for field in LISTS) or 1 for each in attributes.values())
    if values > MAX_VALUES:
        detail = f"the total number of attribute values must not exceed {MAX_VALUES}"
        errors.append(invalid(path, values, detail))
    _check_map(attributes, None, check_attribute_name, _check_attribute, f"{path}.attributes", errors)
    shared = bool(device.get("allowMultipleAllocations"))
    check = _check_shared_capacity if shared else _check_capacity
    _check_map(capacity, None, check_attribute_name, check, f"{path}.capacity", errors)


def _check_map(
    values: dict[str, Any], limit: int | None, check_key: CheckItem, check: CheckItem, path: str, errors: Errors
) -> None:
    if limit is not None and len(values) > limit:
        errors.append(too_many(path, len(values), limit))
        return
    for key, value in values.items():
        shown = key if len(key) <= LONGEST_KEY else f"{key[:47]}...{key[-46:]}"
        check_key(key, path, errors)
        check(value, f"{path}[{shown}]", errors)


def _check_attribute(attribute: Json, path: str, errors: Errors) -> None:
    for field in ("string", "version"):
        if attribute.get(field) is not None:
            _check_value(field, attribute[field], f"{path}.{field}", errors)
    for field in LISTS:
        values = attribute.get(field)
        if values is not None and not values:
            errors.append(invalid(f"{path}.{field}", values, "must not be empty if specified"))
        if field in ("strings", "versions"):
            for index, value in enumerate(values or ()):
                _check_value(field[:-1], value, f"{path}.{field}[{index}]", errors)
    present = sum(attribute.get(field) is not None for field in (*SCALARS, *LISTS))
    if present != 1:
        errors.append(invalid(path, attribute if present else "", "exactly one value must be specified"))


def _check_value(kind: str, value: str, path: str, errors: Errors) -> None:
    if kind == "version" and not SEMVER.fullmatch(value):
        errors.append(invalid(path, value, "must be a string compatible with semver.org spec 2.0.0"))
    if len(value.encode()) > LONGEST_VALUE:
        errors.append(too_long(path, LONGEST_VALUE))


def _check_capacity(capacity: Json, path: str, errors: Errors) -> None:
    if capacity.get("requestPolicy") is not None:
        errors.append(forbidden(f"{path}.requestPolicy", "allowMultipleAllocations must be true"))


def _check_shared_capacity(capacity: Json, path: str, errors: Errors) -> None:
    policy, most = capacity.get("requestPolicy"), capacity.get("value", "0")
    if policy is None:
        return
    path = f"{path}.requestPolicy"
    values, limits, default = policy.get("validValues"), policy.get("validRange"), policy.get("default")
    if values and limits is not None:
        errors.append(forbidden(path, TWO_POLICIES))
    elif values or limits is not None:
        field = "validValues" if values else "validRange"
        if default is None:
            errors.append(required(f"{path}.default", f"required when {field} is defined"))
        elif values:
            _check_choices(default, most, values, f"{path}.{field}", errors)
        else:
            _check_limits(default, most, limits, f"{path}.{field}", errors)


def _check_choices(default: str, most: str, values: list[str], path: str, errors: Errors) -> None:
    for index in range(1, len(values)):
        if parse(values[index - 1]) > parse(values[index]):
            errors.append(invalid(f"{path}[{index}]", values[index], "values must be sorted in ascending order"))

    def check(value: str, at: str, errors: Errors) -> None:
        if parse(value) > parse(most):
            errors.append(invalid(at, value, f"option is larger than capacity value: {most}"))

    check_items(values, MAX_CHOICES, check, path, errors, parse)
    if not any(parse(value) == parse(default) for value in values):
        errors.append(invalid(path, default, "default value is not valid according to the requestPolicy"))


def _check_limits(default: str, most: str, limits: Json, path: str, errors: Errors) -> None:
    low, high, step = (limits.get(field) for field in ("min", "max", "step"))
    if low is None:
        errors.append(required(f"{path}.min", "required when validRange is defined"))
        return
    faults = [
        ("min", low, f"min is larger than capacity value: {most}", parse(low) > parse(most)),
        ("min", default, f"default is less than min: {low}", parse(default) < parse(low)),
    ]
    if high is not None:
        faults += [
            ("max", low, f"min is larger than max: {high}", parse(low) > parse(high)),
            ("max", high, f"max is larger than capacity value: {most}", parse(high) > parse(most)),
            ("max", default, f"default is more than max: {high}", parse(default) > parse(high)),
        ]
    if step is not None:
        total = parse(low) + parse(step)
        detail = f"one step {total} is larger than capacity value: {most}"
        faults.append(("step", step, detail, total > parse(most)))
        for value in (default,) if high is None else (default, high):
            detail = f"value is not a multiple of a given step ({step}) from ({low})"
            wrong = parse(step) != 0 and (parse(value) - parse(low)) % parse(step) != 0
            faults.append(("step", value, detail, wrong))
    errors.extend(invalid(f"{path}.{field}", value, detail) for field, value, detail, wrong in faults if wrong)


def _check_counter_set(counters: Json, path: str, errors: Errors) -> None:
    _check_counters(counters, "name", path, errors)


def _check_consumption(consumption: Json, path: str, errors: Errors) -> None:
    _check_counters(consumption, "counterSet", path, errors)


def _check_counters(part: Json, field: str, path: str, errors: Errors) -> None:
    if check_present(part.get(field), f"{path}.{field}", errors):
        check_label(part[field], f"{path}.{field}", errors)
    if check_present(part.get("counters"), f"{path}.counters", errors):
        _check_map(part["counters"], MAX_COUNTERS, check_label, lambda *_: None, f"{path}.counters", errors)


def _check_mapping(name: str, mapping: Json, capacity: Json, path: str, errors: Errors) -> None:
    if not is_native(name):
        errors.append(invalid(path, name, "must be a node allocatable resource name"))
    multiplier, key = mapping.get("allocationMultiplier"), mapping.get("capacityKey")
    if multiplier is None and key is None:
        errors.append(invalid(path, "", "at least one of allocationMultiplier or capacityKey must be set"))
    if multiplier is not None and parse(multiplier) <= 0:
        errors.append(invalid(f"{path}.allocationMultiplier", multiplier, "must be positive"))
    if key == "":
        errors.append(invalid(f"{path}.capacityKey", "", "capacityKey must not be an empty string"))
    elif key is not None and key not in capacity:
        errors.append(not_found(f"{path}.capacityKey", key))
