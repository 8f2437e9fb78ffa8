"""What the tests of validation share: objects that are fine, ways to spoil them, and the faults as one reads them."""

import copy
from typing import Any

from kobune.api.catalogue import Kind
from kobune.api.defaulting import apply_defaults
from kobune.api.validation import validate_create, validate_subresource_update, validate_update


def kind_of(name: str, group: str = "", version: str = "v1", *, namespaced: bool = True) -> Kind:
    return Kind(group, version, name, name.lower() + "s", namespaced=namespaced)


def made(kind: Kind, body: dict[str, Any], name: str = "a") -> dict[str, Any]:
    """A complete, defaulted object."""
    obj = copy.deepcopy(body)
    metadata = {"name": name, "uid": "u", "resourceVersion": "1", **obj.get("metadata", {})}
    if kind.namespaced:
        metadata.setdefault("namespace", "default")
    obj["metadata"] = metadata
    apply_defaults(kind, obj)
    return obj


def changed(obj: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy with values at paths such as spec__containers__0__image; None removes."""
    result = copy.deepcopy(obj)
    for path, value in values.items():
        target: Any = result
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("__"))
        for step in steps:
            target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
        if value is None:
            del target[last]
        elif isinstance(target, list) and last == len(target):
            target.append(value)
        else:
            target[last] = value
    return result


def faults(kind: Kind, obj: dict[str, Any]) -> list[str]:
    return [f"{error.field}: {error.message}" for error in validate_create(kind, obj)]


def update_faults(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    return [f"{error.field}: {error.message}" for error in validate_update(kind, new, old)]


def subresource_faults(kind: Kind, subresource: str, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    return [f"{error.field}: {error.message}" for error in validate_subresource_update(kind, subresource, new, old)]
