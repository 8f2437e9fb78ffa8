"""Whether a custom object may be stored: its metadata, its schema, its scale paths. What was wrong already may stay.

Source: upstream apiextensions-apiserver, pkg/registry/customresource (strategy, validator) and its validation ratcheting.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kobune.api import names
from kobune.api.custom import ScalePaths, scale_paths
from kobune.api.errors import FieldError, Json
from kobune.api.field_errors import invalid
from kobune.api.kinds import Kind
from kobune.api.schema import Schema
from kobune.api.structural_checks import StructuralChecks
from kobune.api.validation.checks import MAX_INT32, Errors
from kobune.api.validation.definition_rules import has_rules
from kobune.api.validation.metadata import check_metadata, check_metadata_update

if TYPE_CHECKING:
    from kobune.api.cel.rules import CelRules

_BLOCKING = frozenset(
    {
        "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)  # fmt: skip
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[([^\]]*)\]")


class CustomChecks:
    """The checks of one version of a custom kind."""

    def __init__(self, kind: Kind, schema: Schema, version: Json) -> None:
        self._kind = kind
        self._schema = schema
        self._structural = StructuralChecks(schema)
        self._scale: ScalePaths | None = scale_paths(version)
        self._rules = _Rules(schema.raw)

    def create(self, obj: Json) -> list[FieldError]:
        """The faults of a new object."""
        errors: Errors = []
        check_metadata(obj["metadata"], self._kind.namespaced, names.is_dns1123_subdomain, errors)
        errors += self._structural.errors(obj)
        self._check_scale(obj, errors, status=False)
        return self._rules.added(obj, None, errors)

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
        return self._rules.added(new, old, errors)

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


class _Rules:
    """The schema's CEL rules, if it has any."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._has_rules = has_rules(schema)
        self._rules: CelRules | None = None

    def added(self, obj: Json, old: Json | None, errors: Errors) -> Errors:
        """The errors with those of the rules, which run when the object is in order as far as they rely on it."""
        if not self._has_rules:
            return errors
        if any(error.reason in _BLOCKING for error in errors):
            return [*errors, invalid("<nil>", None, _NOT_CHECKED)]
        if self._rules is None:
            # Here, because few schemas have rules, and the engine takes time to load.
            from kobune.api.cel.rules import CelRules

            self._rules = CelRules(self._schema)
        return [*errors, *self._rules.errors(obj, old)]


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
