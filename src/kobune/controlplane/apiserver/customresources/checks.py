"""Whether a custom object may be stored: its metadata, its schema, its scale paths. What was wrong already may stay.

Source: upstream apiextensions-apiserver, pkg/registry/customresource (strategy, validator) and its validation ratcheting.
"""

import re
from typing import Any

from kobune.api import names
from kobune.api.custom import ScalePaths, scale_paths
from kobune.api.errors import FieldError, Json
from kobune.api.field_errors import invalid
from kobune.api.kinds import Kind
from kobune.api.schema import Schema
from kobune.api.structural_checks import StructuralChecks
from kobune.api.validation.checks import MAX_INT32, Errors
from kobune.api.validation.metadata import check_metadata, check_metadata_update

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[([^\]]*)\]")


class CustomChecks:
    """The checks of one version of a custom kind."""

    def __init__(self, kind: Kind, schema: Schema, version: Json) -> None:
        self._kind = kind
        self._schema = schema
        self._structural = StructuralChecks(schema)
        self._scale: ScalePaths | None = scale_paths(version)

    def create(self, obj: Json) -> list[FieldError]:
        """The faults of a new object."""
        errors: Errors = []
        check_metadata(obj["metadata"], self._kind.namespaced, names.is_dns1123_subdomain, errors)
        errors += self._structural.errors(obj)
        self._check_scale(obj, errors, status=False)
        return errors

    def update(self, new: Json, old: Json, *, status: bool) -> list[FieldError]:
        """The faults that `new` has and `old` had not; of a status update those inside the status."""
        errors: Errors = []
        check_metadata_update(new["metadata"], old["metadata"], errors)
        errors += [
            error
            for error in self._structural.errors(new)
            if (not status or error.field.startswith("status") or error.field == "<nil>")
            and not is_unchanged(error.field, new, old, self._schema)
        ]
        self._check_scale(new, errors, status=status)
        return errors

    def _check_scale(self, obj: Json, errors: Errors, *, status: bool) -> None:
        if self._scale is None:
            return
        for path in (self._scale.current,) if status else (self._scale.wanted, self._scale.current):
            found = path.find(obj)
            value = found[0] if found else 0
            if isinstance(value, bool) or not isinstance(value, int):
                continue  # The schema's business.
            if value < 0:
                errors.append(invalid(path.text, value, "should be a non-negative integer"))
            elif value > MAX_INT32:
                errors.append(invalid(path.text, value, f"should be less than or equal to {MAX_INT32}"))


def is_unchanged(path: str, new: Any, old: Any, schema: Schema | None) -> bool:
    """Whether the value at `path`, or one that it is part of, is what it was; list elements are told apart by map keys."""
    if not path or path == "<nil>":
        return False
    for step in _STEP.finditer(path):
        key = step[1] if step[1] is not None else step[3]
        if key is not None:
            if not isinstance(new, dict) or not isinstance(old, dict) or key not in new or key not in old:
                return False
            new, old = new[key], old[key]
            schema = (schema.properties.get(key) or schema.additional) if schema is not None else None
        else:
            if not isinstance(new, list) or not isinstance(old, list) or schema is None or schema.list_type != "map":
                return False
            position, keys = int(step[2]), schema.list_keys
            if position >= len(new) or not isinstance(new[position], dict):
                return False
            new = new[position]
            wanted = [new.get(key) for key in keys]
            old = next((one for one in old if isinstance(one, dict) and [one.get(key) for key in keys] == wanted), None)
            schema = schema.items
        if new == old:
            return True
    return False
