"""Nodes."""

import re

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid
from kobune.api.validation.addresses import check_cidr, is_dual_stack
from kobune.api.validation.affinity import check_taints
from kobune.api.validation.checks import Errors
from kobune.api.validation.quantities import check_amount

ONCE = 'node updates may not change {} except from "" to valid'

_feature = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*").fullmatch


def check_node(node: Json, errors: Errors) -> None:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    if spec.get("taints"):
        check_taints(spec["taints"], "metadata.taints", errors)
    _check_status(status, errors)
    ranges = spec.get("podCIDRs") or []
    for index, value in enumerate(ranges):
        check_cidr(value, f"spec.podCIDRs[{index}]", errors)
    if len(ranges) > 1 and (len(ranges) > 2 or not is_dual_stack(ranges)):
        errors.append(invalid("spec.podCIDRs", ranges, "may specify no more than one CIDR for each IP family"))


def check_node_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    status = new.get("status") or {}
    if status is not old.get("status"):  # A taint or an annotation leaves the very same there, which has been checked.
        _check_status(status, errors)
        addresses = status.get("addresses") or []
        for index, address in enumerate(addresses):
            if address in addresses[:index]:
                errors.append(duplicate(f"status.addresses[{index}]", address))
    if before.get("podCIDRs") and after.get("podCIDRs") != before["podCIDRs"]:
        errors.append(forbidden("spec.podCIDRs", ONCE.format("podCIDR")))
    if before.get("providerID") and after.get("providerID") != before["providerID"]:
        errors.append(forbidden("spec.providerID", ONCE.format("providerID")))
    if after.get("taints"):
        check_taints(after["taints"], "metadata.taints", errors)
    if (after.get("externalID") or "") != (before.get("externalID") or ""):
        errors.append(forbidden("spec.externalID", "may not be updated"))


def _check_status(status: Json, errors: Errors) -> None:
    for field in ("capacity", "allocatable"):
        for name, amount in (status.get(field) or {}).items():
            check_amount(name, amount, f"status.{field}.{name}", errors)
    features = status.get("declaredFeatures") or []
    for index, feature in enumerate(features):
        at = f"status.declaredFeatures[{index}]"
        if len(feature) > names.MAX_SUBDOMAIN:
            detail = f'invalid feature name "{feature}": {names.too_long(names.MAX_SUBDOMAIN)}'
            errors.append(invalid(at, feature, detail))
        elif not _feature(feature):
            detail = (
                f'invalid feature name "{feature}": must start with an UpperCamelCase segment, with subsequent segments separated'
                " by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            )
            errors.append(invalid(at, feature, detail))
        if index and features[index - 1] == feature:
            errors.append(duplicate(at, feature))
        elif index and features[index - 1] > feature:
            errors.append(invalid(at, feature, "list must be sorted alphabetically"))
