"""Resource names and amounts: requests, limits, overhead."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import NOT_NEGATIVE, duplicate, forbidden, invalid, not_supported, required
from kobune.api.quantity import Number, parse_quantity
from kobune.api.validation.checks import NOT_POSITIVE, Errors, check_name
from kobune.api.validation.memo import remembered

NOT_INTEGER = "must be an integer"
HUGE_PAGES = "hugepages-"
NATIVE_DOMAIN = "kubernetes.io/"
REQUESTS = "requests."
CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
COUNTED = frozenset(
    {
        "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
        "services.nodeports", "services.loadbalancers",
    }
)  # fmt: skip
STANDARD = COUNTED | {
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage", "storage", "requests.storage",
}  # fmt: skip
QUOTA = STANDARD - {"storage"}
POD_LEVEL = ("cpu", "hugepages-", "memory")


def is_huge_pages(name: str) -> bool:
    return name.startswith(HUGE_PAGES)


def is_native(name: str) -> bool:
    return "/" not in name or NATIVE_DOMAIN in name


def allows_overcommit(name: str) -> bool:
    return is_native(name) and not is_huge_pages(name)


@lru_cache(maxsize=1024)
def is_extended(name: str) -> bool:
    return not is_native(name) and not name.startswith(REQUESTS) and not names.is_qualified_name(REQUESTS + name)


def parse(amount: Any) -> Number:
    """The amount; what is none has been refused while decoding and counts as zero here."""
    try:
        return parse_quantity(amount)
    except ValueError:
        return 0


def check_amount(name: str, amount: Any, path: str, errors: Errors) -> None:
    """Not negative, and whole where parts make no sense."""
    value = parse(amount)
    if value < 0:
        errors.append(invalid(path, amount, NOT_NEGATIVE))
    if name not in CONTAINER and not isinstance(value, int) and (name in COUNTED or is_extended(name)):
        errors.append(invalid(path, amount, NOT_INTEGER))


def check_positive_amount(amount: Any, path: str, errors: Errors) -> None:
    if parse(amount) <= 0:
        errors.append(invalid(path, amount if isinstance(amount, str) else str(amount), NOT_POSITIVE))


def check_resource_name(name: str, path: str, errors: Errors) -> None:
    for message in resource_name_faults(name):
        errors.append(invalid(path, name, message))


@lru_cache(maxsize=1024)
def resource_name_faults(name: str) -> tuple[str, ...]:
    faults = names.is_qualified_name(name)
    if not faults and "/" not in name and name not in STANDARD and not is_huge_pages(name):
        faults = ["must be a standard resource type or fully qualified"]
    return tuple(faults)


@lru_cache(maxsize=1024)
def container_name_faults(name: str) -> tuple[str, ...]:
    faults = resource_name_faults(name)
    if "/" not in name:
        if name not in CONTAINER and not is_huge_pages(name):
            return (*faults, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        return (*faults, "doesn't follow extended resource name standard")
    return faults


def check_quota_resource_name(name: str, path: str, errors: Errors) -> None:
    check_resource_name(name, path, errors)
    if "/" not in name and name not in QUOTA and not name.startswith((HUGE_PAGES, REQUESTS + HUGE_PAGES)):
        errors.append(invalid(path, name, "must be a standard resource for quota"))


def check_requirements(
    resources: Json, claims: Collection[str], path: str, errors: Errors, *, pod_level: bool = False
) -> None:
    """A `resources` block: names, amounts, requests within limits, claims among the pod's."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    compute = huge = False
    for which, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            _check_name(name, f"{path}.{which}[{name}]", errors, pod_level=pod_level)
            check_amount(name, amount, f"{path}.{which}[{name}]", errors)
            if which == "requests":
                _check_request(name, amount, limits, path, errors)
            if is_huge_pages(name):
                huge = True
                _check_huge_pages(name, amount, f"{path}.{which}[{name}]", errors)
            elif name in ("cpu", "memory"):
                compute = True
    if huge and not compute:
        errors.append(forbidden(path, "HugePages require cpu or memory"))
    if resources.get("claims"):
        _check_claims(resources["claims"], claims, f"{path}.claims", errors)


@remembered
def check_container_requirements(resources: Json, path: str, errors: Errors) -> None:
    """A container's block without claims."""
    check_requirements(resources, (), path, errors)


def _check_name(name: str, path: str, errors: Errors, *, pod_level: bool) -> None:
    if not pod_level:
        for message in container_name_faults(name):
            errors.append(invalid(path, name, message))
    elif resource_name_faults(name):
        check_resource_name(name, path, errors)
    elif name not in ("cpu", "memory") and not is_huge_pages(name):
        errors.append(not_supported(path, name, POD_LEVEL))


def _check_request(name: str, amount: Any, limits: Json, path: str, errors: Errors) -> None:
    limit = limits.get(name)
    if limit is None:
        if not allows_overcommit(name):
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
    elif amount != limit:
        requested, allowed = parse(amount), parse(limit)
        if requested != allowed and not allows_overcommit(name):
            errors.append(invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}"))
        elif requested > allowed:
            errors.append(invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}"))


def _check_huge_pages(name: str, amount: Any, path: str, errors: Errors) -> None:
    size = parse(name.removeprefix(HUGE_PAGES))
    if size <= 0 or parse(amount) % size:
        errors.append(invalid(path, amount, f"{amount} is not positive integer multiple of {name}"))


def _check_claims(entries: list[Json], claims: Collection[str], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        at = f"{path}[{index}]"
        name, request = entry.get("name") or "", entry.get("request") or ""
        if not name:
            errors.append(required(at))
            continue
        key = f"{name}/{request}" if request else name
        if request:
            check_name(names.is_dns1123_label, request, f"{at}.request", errors)
        if key in seen or name in seen or (not request and any(other.partition("/")[0] == name for other in seen)):
            errors.append(duplicate(at, key))
        seen.add(key)
        if name not in claims:
            listed = f": {', '.join(sorted(claims))}" if claims else " which is empty"
            fault = invalid(at, name, f"must be one of the names in pod.spec.resourceClaims{listed}")
            errors.append(type(fault)(at, "FieldValueNotFound", fault.message.replace("Invalid value", "Not found", 1)))
