"""Object metadata. Source: upstream apimachinery/pkg/api/validation/objectmeta.go."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import IMMUTABLE, NOT_NEGATIVE, forbidden, invalid, quote, required, too_long
from kobune.api.names import Check
from kobune.api.validation.checks import Errors, check_name

MAX_ANNOTATIONS = 256 * 1024  # Bytes, keys and values together.
MAX_MANAGER = 128
MAX_SUBRESOURCE = 256
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
STANDARD_FINALIZERS = frozenset({"kubernetes", ORPHAN, FOREGROUND})
FIXED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def check_metadata(meta: Json, namespaced: bool, check: Check, errors: Errors, path: str = "metadata") -> None:
    """The metadata of a new object. Its generateName is judged by the same rule as its name."""
    prefix = meta.get("generateName")
    if prefix:
        check_name(names.generate_prefix(check), prefix, f"{path}.generateName", errors)
    name = meta.get("name")
    if not name:
        errors.append(required(f"{path}.name", "name or generateName is required"))
    else:
        check_name(check, name, f"{path}.name", errors)
    namespace = meta.get("namespace")
    if namespaced:
        if not namespace:
            errors.append(required(f"{path}.namespace"))
        else:
            check_name(names.is_dns1123_label, namespace, f"{path}.namespace", errors)
    elif namespace:
        errors.append(forbidden(f"{path}.namespace", "not allowed on this type"))
    if meta.get("generation", 0) < 0:
        errors.append(invalid(f"{path}.generation", meta["generation"], NOT_NEGATIVE))
    _check_common(meta, path, errors)
    if "finalizers" in meta:
        _check_finalizers(meta["finalizers"], f"{path}.finalizers", errors)


def check_metadata_update(new: Json, old: Json, errors: Errors, path: str = "metadata") -> None:
    """The metadata of a changed object."""
    if old.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            shown = ", ".join(map(quote, added))
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
            errors.append(forbidden(f"{path}.finalizers", detail))
    if not new.get("resourceVersion"):
        errors.append(invalid(f"{path}.resourceVersion", "", "must be specified for an update"))
    if new.get("generation", 0) < old.get("generation", 0):
        errors.append(invalid(f"{path}.generation", new.get("generation", 0), "must not be decremented"))
    for field in FIXED:
        if new.get(field) != old.get(field) and (new.get(field) or old.get(field)):
            value = new.get(field, "" if field in ("name", "namespace", "uid") else None)
            errors.append(invalid(f"{path}.{field}", value, IMMUTABLE))
    _check_common(new, path, errors, old)
    for index, finalizer in enumerate(new.get("finalizers") or ()):
        _check_standard_finalizer(finalizer, f"{path}.finalizers[{index}]", errors)


def check_labels(labels: Mapping[str, str] | None, path: str, errors: Errors) -> None:
    if labels:
        for key, value in labels.items():
            for message in _key_faults(key):
                errors.append(invalid(path, key, message))
            for message in _value_faults(value):
                errors.append(invalid(path, value, message))


def check_annotations(annotations: Mapping[str, str] | None, path: str, errors: Errors) -> None:
    if annotations:
        size = 0
        for key, value in annotations.items():
            # The rule is that of label keys, but case does not count.
            for message in _key_faults(key.lower()):
                errors.append(invalid(path, key, message))
            size += len(key) + (len(value) if value.isascii() else len(value.encode()))
        if size > MAX_ANNOTATIONS:
            errors.append(too_long(path, MAX_ANNOTATIONS))


def check_finalizer_name(finalizer: str, path: str, errors: Errors) -> None:
    """A finalizer of a namespace's spec, or of any object: qualified, or one of the standard ones."""
    check_name(names.is_qualified_name, finalizer, path, errors)
    _check_standard_finalizer(finalizer, path, errors)


def check_manager(manager: str, path: str, errors: Errors) -> None:
    """The name of a field manager."""
    if len(manager) > MAX_MANAGER:
        errors.append(too_long(path, MAX_MANAGER))
    if manager.isprintable():
        return
    for at, char in enumerate(manager):
        if not char.isprintable():
            errors.append(invalid(path, manager, f"invalid character U+{ord(char):04X} (at position {at})"))


# Label keys repeat on every object, and most values on many.
_key_faults = lru_cache(maxsize=4096)(names.is_qualified_name)
_value_faults = lru_cache(maxsize=4096)(names.is_label_value)


def _check_common(meta: Json, path: str, errors: Errors, old: Mapping[str, Any] = MappingProxyType({})) -> None:
    """What is as it was in `old` has been checked then."""
    for field, check in _COMMON.items():
        if field in meta and meta[field] != old.get(field):
            check(meta[field] or (), f"{path}.{field}", errors)


def _check_owners(owners: Any, path: str, errors: Errors) -> None:
    controller = ""
    for owner in owners:
        api_version = owner.get("apiVersion") or ""
        if not api_version.rpartition("/")[2]:
            errors.append(invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                errors.append(invalid(f"{path}.{field}", owner.get(field) or "", "must not be empty"))
        if api_version == "v1" and owner.get("kind") == "Event":
            errors.append(invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            current = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                detail = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {current}"
                )
                errors.append(invalid(path, owners, detail))
            else:
                controller = current


def _check_finalizers(finalizers: list[str], path: str, errors: Errors) -> None:
    for index, finalizer in enumerate(finalizers):
        check_name(names.is_qualified_name, finalizer, path, errors)
        _check_standard_finalizer(finalizer, f"{path}[{index}]", errors)
    if ORPHAN in finalizers and FOREGROUND in finalizers:
        errors.append(invalid(path, finalizers, f"finalizer {ORPHAN} and {FOREGROUND} cannot be both set"))


def _check_standard_finalizer(finalizer: str, path: str, errors: Errors) -> None:
    if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
        errors.append(invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified"))


def _check_managed(entries: Any, path: str, errors: Errors) -> None:
    for index, entry in enumerate(entries):
        at = f"{path}[{index}]"
        if entry.get("operation") not in ("Apply", "Update"):
            errors.append(invalid(f"{at}.operation", entry.get("operation") or "", "must be `Apply` or `Update`"))
        if entry.get("fieldsType") not in (None, "", "FieldsV1"):
            errors.append(invalid(f"{at}.fieldsType", entry["fieldsType"], "must be `FieldsV1`"))
        check_manager(entry.get("manager") or "", f"{at}.manager", errors)
        if len(entry.get("subresource") or "") > MAX_SUBRESOURCE:
            errors.append(too_long(f"{at}.subresource", MAX_SUBRESOURCE))


_COMMON: Mapping[str, Callable[[Any, str, Errors], None]] = {
    "labels": check_labels,
    "annotations": check_annotations,
    "ownerReferences": _check_owners,
    "managedFields": _check_managed,
}
