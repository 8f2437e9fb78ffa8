"""Dynamic resource allocation: claims, their templates, device classes, taint rules. CEL is not compiled here."""

import re
from collections.abc import Callable, Hashable

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required, too_long, too_many
from kobune.api.validation.addresses import check_interface_address
from kobune.api.validation.checks import Errors, check_immutable, check_name, check_one_of, check_present
from kobune.api.validation.devices import (
    MAX_CONFIGS,
    MAX_REQUESTS,
    CheckItem,
    check_binding_conditions,
    check_configuration,
    check_full_attribute_name,
    check_items,
    check_label,
    check_pool_name,
    check_raw_object,
    check_selectors,
    check_taint,
    check_toleration,
)
from kobune.api.validation.kinds import Rules
from kobune.api.validation.metadata import check_annotations, check_labels
from kobune.api.validation.quantities import is_extended
from kobune.api.validation.resource_slices import check_slice, check_slice_update
from kobune.api.validation.selectors import check_node_selector
from kobune.api.validation.statuses import check_conditions
from kobune.api.validation.volumes import check_driver_name

MAX_CONSTRAINTS, MAX_ALTERNATIVES, MAX_RESULTS, MAX_CONSUMERS, MAX_CONDITIONS, MAX_ADDRESSES = 32, 8, 32, 256, 8, 16
LONGEST_INTERFACE, LONGEST_HARDWARE = 256, 128
MODES = ("All", "ExactCount")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
ONE = "exactly one of `exactly` or `firstAvailable` is required"
REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
ONE_ATTRIBUTE = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'  # Upstream's words.
DEALLOCATING = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
Requests = dict[str, set[str]]  # The names of a claim's requests, each with those of its alternatives.


def check_claim(claim: Json, errors: Errors) -> None:
    _check_spec(claim.get("spec") or {}, "spec", errors)


def check_claim_update(new: Json, old: Json, errors: Errors) -> None:
    check_immutable(new, old, "spec", "spec", errors)


def check_claim_status(new: Json, old: Json, errors: Errors) -> None:
    status, before = new.get("status") or {}, old.get("status") or {}
    allocation, consumers = status.get("allocation"), status.get("reservedFor") or []
    requests = _request_names((new.get("spec") or {}).get("devices") or {})
    check_items(
        consumers, MAX_CONSUMERS, _check_consumer, "status.reservedFor", errors, lambda each: each.get("uid") or ""
    )
    results = ((allocation or {}).get("devices") or {}).get("results") or ()
    allocated = {_device_id(result) for result in results}
    check_items(status.get("devices"), None, _device_check(allocated), "status.devices", errors, _device_id)
    if consumers and allocation is None:
        errors.append(forbidden("status.reservedFor", "may not be specified when `allocated` is not set"))
    known = before.get("reservedFor") or ()
    if (new.get("metadata") or {}).get("deletionTimestamp") and any(each not in known for each in consumers):
        errors.append(forbidden("status.reservedFor", DEALLOCATING))
    if allocation is not None and before.get("allocation") is not None:
        check_immutable(status, before, "allocation", "status.allocation", errors)
    elif allocation is not None:
        _check_allocation(allocation, requests, "status.allocation", errors)


def check_template(template: Json, errors: Errors) -> None:
    spec = template.get("spec") or {}
    metadata = spec.get("metadata") or {}
    check_annotations(metadata.get("annotations"), "spec.metadata.annotations", errors)
    check_labels(metadata.get("labels"), "spec.metadata.labels", errors)
    _check_spec(spec.get("spec") or {}, "spec.spec", errors)


def check_template_update(new: Json, old: Json, errors: Errors) -> None:
    check_immutable(new, old, "spec", "spec", errors)


def check_class(device_class: Json, errors: Errors) -> None:
    spec = device_class.get("spec") or {}
    check_selectors(spec.get("selectors"), "spec.selectors", errors)
    check_items(spec.get("config"), MAX_CONFIGS, check_configuration, "spec.config", errors)
    extended = spec.get("extendedResourceName")
    if extended is not None and not is_extended(extended):
        errors.append(invalid("spec.extendedResourceName", extended, "must be a valid extended resource name"))


def check_taint_rule(rule: Json, errors: Errors) -> None:
    _check_taint_rule(rule, None, errors)


def check_taint_rule_update(new: Json, old: Json, errors: Errors) -> None:
    _check_taint_rule(new, ((old.get("spec") or {}).get("taint") or {}).get("effect") or "", errors)


def check_taint_rule_status(new: Json, old: Json, errors: Errors) -> None:
    conditions = (new.get("status") or {}).get("conditions") or []
    check_conditions(conditions, "status.conditions", errors)
    if len(conditions) > MAX_CONDITIONS:
        errors.append(too_many("status.conditions", len(conditions), MAX_CONDITIONS))


def _check_taint_rule(rule: Json, old_effect: str | None, errors: Errors) -> None:
    spec = rule.get("spec") or {}
    selector = spec.get("deviceSelector") or {}
    for field, check in (("driver", check_driver_name), ("pool", check_pool_name), ("device", check_label)):
        if selector.get(field) is not None:
            check(selector[field], f"spec.deviceSelector.{field}", errors)
    check_taint(spec.get("taint") or {}, "spec.taint", errors, old_effect)


def _check_spec(spec: Json, path: str, errors: Errors) -> None:
    devices, path = spec.get("devices") or {}, f"{path}.devices"
    requests = _request_names(devices)
    reference = _reference_check(requests)
    check_items(devices.get("requests"), MAX_REQUESTS, _check_request, f"{path}.requests", errors, _name)

    def check_constraint(constraint: Json, at: str, errors: Errors) -> None:
        check_items(constraint.get("requests"), MAX_REQUESTS, reference, f"{at}.requests", errors, str)
        for field in ("matchAttribute", "distinctAttribute"):
            if constraint.get(field) is not None:
                check_full_attribute_name(constraint[field], f"{at}.{field}", errors)
                return
        errors.append(required(at, ONE_ATTRIBUTE))

    def check_config(config: Json, at: str, errors: Errors) -> None:
        check_items(config.get("requests"), MAX_REQUESTS, reference, f"{at}.requests", errors, str)
        check_configuration(config, at, errors)

    check_items(devices.get("constraints"), MAX_CONSTRAINTS, check_constraint, f"{path}.constraints", errors)
    check_items(devices.get("config"), MAX_CONFIGS, check_config, f"{path}.config", errors)


def _check_request(request: Json, path: str, errors: Errors) -> None:
    check_label(request.get("name"), f"{path}.name", errors)
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable")
    if exactly is None and not alternatives:
        errors.append(required(path, ONE))
    elif exactly is not None and alternatives:
        errors.append(invalid(path, None, f"{ONE}, but multiple fields are set"))
    elif exactly is not None:
        _check_exact(exactly, f"{path}.exactly", errors)
    else:
        check_items(alternatives, MAX_ALTERNATIVES, _check_alternative, f"{path}.firstAvailable", errors, _name)


def _check_alternative(request: Json, path: str, errors: Errors) -> None:
    check_label(request.get("name"), f"{path}.name", errors)
    _check_exact(request, path, errors)


def _check_exact(request: Json, path: str, errors: Errors) -> None:
    if check_present(request.get("deviceClassName"), f"{path}.deviceClassName", errors):
        check_name(names.is_dns1123_subdomain, request["deviceClassName"], f"{path}.deviceClassName", errors)
    check_selectors(request.get("selectors"), f"{path}.selectors", errors)
    mode, count = request.get("allocationMode") or "", request.get("count", 0)
    if mode not in MODES:
        errors.append(not_supported(f"{path}.allocationMode", mode, MODES))
    elif mode == "All" and count:
        detail = "must not be specified when allocationMode is 'All'"
        errors.append(invalid(f"{path}.count", count, detail))
    elif mode == "ExactCount" and count <= 0:
        errors.append(invalid(f"{path}.count", count, "must be greater than zero"))
    check_items(request.get("tolerations"), None, check_toleration, f"{path}.tolerations", errors)


def _name(part: Json) -> Hashable:
    return part.get("name") or ""


def _request_names(devices: Json) -> Requests:
    return {
        request.get("name") or "": {each.get("name") or "" for each in request.get("firstAvailable") or ()}
        for request in devices.get("requests") or ()
    }


def _reference_check(requests: Requests) -> CheckItem:
    def check(name: str, path: str, errors: Errors) -> None:
        request, slash, alternative = name.partition("/")
        if "/" in alternative:
            errors.append(invalid(path, name, REFERENCE))
            return
        for part in (request, alternative) if slash else (request,):
            check_label(part, path, errors)
        if request not in requests or (slash and alternative not in requests[request]):
            errors.append(invalid(path, name, REFERENCE))

    return check


def _check_consumer(consumer: Json, path: str, errors: Errors) -> None:
    for field in ("resource", "name", "uid"):
        check_present(consumer.get(field), f"{path}.{field}", errors)


def _device_id(device: Json) -> Hashable:
    """As upstream writes it: the driver, the pool, the device, and the share of it."""
    text = "/".join(device.get(field) or "" for field in ("driver", "pool", "device"))
    return f"{text}/{device['shareID']}" if device.get("shareID") else text


def _device_check(allocated: set[Hashable]) -> Callable[[Json, str, Errors], None]:
    def check(device: Json, path: str, errors: Errors) -> None:
        _check_device_name(device, path, errors)
        if _device_id(device) not in allocated:
            errors.append(invalid(path, _device_id(device), "must be an allocated device in the claim"))
        conditions, network = device.get("conditions") or [], device.get("networkData") or {}
        if len(conditions) > MAX_CONDITIONS:
            errors.append(too_many(f"{path}.conditions", len(conditions), MAX_CONDITIONS))
        check_conditions(conditions, f"{path}.conditions", errors)
        if device.get("data") is not None:
            check_raw_object(device["data"], f"{path}.data", errors)
        for field, limit in (("interfaceName", LONGEST_INTERFACE), ("hardwareAddress", LONGEST_HARDWARE)):
            if len((network.get(field) or "").encode()) > limit:
                errors.append(too_long(f"{path}.networkData.{field}", limit))
        check_items(network.get("ips"), MAX_ADDRESSES, check_interface_address, f"{path}.networkData.ips", errors, str)

    return check


def _check_device_name(device: Json, path: str, errors: Errors) -> None:
    check_driver_name(device.get("driver"), f"{path}.driver", errors)
    check_pool_name(device.get("pool"), f"{path}.pool", errors)
    check_label(device.get("device"), f"{path}.device", errors)
    share = device.get("shareID")
    if share is not None and not UUID.fullmatch(share):
        errors.append(invalid(f"{path}.shareID", share, f"error validating uid: invalid UUID length: {len(share)}"))
    elif share is not None and share != share.lower():
        detail = (
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal"
            " characters"
        )
        errors.append(invalid(f"{path}.shareID", share, detail))


def _check_allocation(allocation: Json, requests: Requests, path: str, errors: Errors) -> None:
    devices, reference = allocation.get("devices") or {}, _reference_check(requests)

    def check_result(result: Json, at: str, errors: Errors) -> None:
        reference(result.get("request") or "", f"{at}.request", errors)
        _check_device_name(result, at, errors)
        check_binding_conditions(result, at, errors)

    def check_config(config: Json, at: str, errors: Errors) -> None:
        check_one_of(config.get("source"), ("FromClaim", "FromClass"), f"{at}.source", errors)
        check_items(config.get("requests"), MAX_REQUESTS, reference, f"{at}.requests", errors, str)
        check_configuration(config, at, errors)

    check_items(devices.get("results"), MAX_RESULTS, check_result, f"{path}.devices.results", errors)
    check_items(devices.get("config"), 2 * MAX_CONFIGS, check_config, f"{path}.devices.config", errors)
    if allocation.get("nodeSelector") is not None:
        check_node_selector(allocation["nodeSelector"], f"{path}.nodeSelector", errors)


RULES = {
    "DeviceClass": Rules(check_class),
    "DeviceTaintRule": Rules(check_taint_rule, check_taint_rule_update, {"status": check_taint_rule_status}),
    "ResourceClaim": Rules(check_claim, check_claim_update, {"status": check_claim_status}),
    "ResourceClaimTemplate": Rules(check_template, check_template_update),
    "ResourceSlice": Rules(check_slice, check_slice_update),
}
