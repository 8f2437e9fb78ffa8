"""References to fields of the pod, to its resources, and to keys of ConfigMaps and Secrets."""

import re
from collections.abc import Sequence

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import invalid, not_supported, required
from kobune.api.quantity import canonical
from kobune.api.validation.checks import Errors, check_name, check_required_name

ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
RESOURCE_FIELDS = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
    "requests.memory",
)  # fmt: skip
HUGE_PAGE_FIELDS = ("limits.hugepages-", "requests.hugepages-")
BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
# Fields of a pod that the downward API can name at all.
KNOWN_FIELDS = frozenset(
    {*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.hostNetwork"}
)

_SUBSCRIPT = re.compile(r"(.*)\['(.*)'\]", re.DOTALL)


def check_field_ref(reference: Json, supported: Sequence[str], path: str, errors: Errors) -> None:
    if not reference.get("apiVersion"):
        errors.append(required(f"{path}.apiVersion"))
        return
    field = reference.get("fieldPath")
    if not field:
        errors.append(required(f"{path}.fieldPath"))
        return
    if field in supported:
        return
    subscript = _SUBSCRIPT.fullmatch(field)
    if subscript is None:
        if field not in KNOWN_FIELDS:
            detail = f"error converting fieldPath: field label not supported: {field}"
            errors.append(invalid(f"{path}.fieldPath", field, detail))
        else:
            errors.append(not_supported(f"{path}.fieldPath", field, supported))
    elif subscript[1] == "metadata.annotations":
        check_name(names.is_qualified_name, subscript[2].lower(), path, errors)
    elif subscript[1] == "metadata.labels":
        check_name(names.is_qualified_name, subscript[2], path, errors)
    else:
        detail = f"error converting fieldPath: field label does not support subscript: {field}"
        errors.append(invalid(f"{path}.fieldPath", field, detail))


def check_resource_ref(reference: Json, path: str, errors: Errors, *, in_volume: bool) -> None:
    resource = reference.get("resource") or ""
    if in_volume and not reference.get("containerName"):
        errors.append(required(f"{path}.containerName"))
    elif not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in RESOURCE_FIELDS and not resource.startswith(HUGE_PAGE_FIELDS):
        errors.append(not_supported(f"{path}.resource", resource, RESOURCE_FIELDS))
    _check_divisor(resource, reference.get("divisor", "0"), path, errors)


def check_key_ref(reference: Json, path: str, errors: Errors) -> None:
    """A key of a ConfigMap or Secret."""
    check_name(names.is_dns1123_subdomain, reference.get("name") or "", f"{path}.name", errors)
    check_required_name(names.is_config_key, reference.get("key"), f"{path}.key", errors)


def _check_divisor(resource: str, divisor: str | int | float, path: str, errors: Errors) -> None:
    written = canonical(divisor)
    if written == "0":
        return
    kind = resource.partition(".")[2]
    if kind == "cpu":
        if written not in ("1m", "1"):
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            errors.append(invalid(f"{path}.divisor", resource, detail))
    elif (kind in ("memory", "ephemeral-storage") or kind.startswith("hugepages-")) and written not in BYTE_DIVISORS:
        name = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(kind, "hugepages")
        detail = f"only divisor's values {', '.join(BYTE_DIVISORS)} are supported with the {name} resource"
        errors.append(invalid(f"{path}.divisor", resource, detail))
