"""Checks that many kinds share. Each appends what it finds to `errors`; `path` is the field's, as the user wrote it."""

from collections.abc import Collection, Mapping
from typing import Any

from kobune.api import names
from kobune.api.errors import FieldError, Json
from kobune.api.field_errors import IMMUTABLE, NOT_NEGATIVE, forbidden, invalid, not_supported, required, shown
from kobune.api.names import Check

Errors = list[FieldError]

NOT_POSITIVE = "must be greater than zero"
FIXED = "field is immutable when `immutable` is set"
MAX_INT32 = 2**31 - 1


def check_name(check: Check, value: str, path: str, errors: Errors) -> None:
    """One error for each complaint of a name check."""
    for message in check(value):
        errors.append(invalid(path, value, message))


def check_required_name(check: Check, value: str | None, path: str, errors: Errors) -> None:
    if not value:
        errors.append(required(path))
    else:
        check_name(check, value, path, errors)


def check_present(value: Any, path: str, errors: Errors, detail: str = "") -> bool:
    if not value:
        errors.append(required(path, detail))
        return False
    return True


def check_not_negative(obj: Mapping[str, Any], field: str, path: str, errors: Errors) -> None:
    value = obj.get(field)
    if value is not None and value < 0:
        errors.append(invalid(f"{path}.{field}", value, NOT_NEGATIVE))


def check_range(value: int | None, low: int, high: int, path: str, errors: Errors) -> None:
    if value is not None and not low <= value <= high:
        errors.append(invalid(path, value, names.in_range(low, high)))


def check_one_of(value: str | None, supported: Collection[str], path: str, errors: Errors) -> None:
    """Missing is an error of its own; `supported` in the order that upstream shows."""
    if not value:
        errors.append(required(path))
    elif value not in supported:
        errors.append(not_supported(path, value, supported))


def check_supported(value: Any, supported: Collection[str], path: str, errors: Errors) -> None:
    """Missing counts as an empty value."""
    if value not in supported:
        errors.append(not_supported(path, "" if value is None else value, supported))


def check_port(value: int | None, path: str, errors: Errors) -> None:
    value = value or 0
    if not 1 <= value <= 65535:
        errors.append(invalid(path, value, names.in_range(1, 65535)))


def check_port_or_name(value: int | str | None, path: str, errors: Errors) -> None:
    if isinstance(value, str):
        check_name(names.is_port_name, value, path, errors)
    else:
        check_port(value, path, errors)


def check_immutable(new: Json, old: Json, field: str, path: str, errors: Errors) -> None:
    if not same(new.get(field), old.get(field)):
        errors.append(invalid(path, new.get(field), IMMUTABLE))


def check_fixed(new: Json, old: Json, fields: Collection[str], errors: Errors) -> None:
    """The rule of Secrets and ConfigMaps whose `immutable` is set."""
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        errors.append(forbidden("immutable", FIXED))
    for field in fields:
        if not same(new.get(field), old.get(field)):
            errors.append(forbidden(field, FIXED))


def check_int_or_percent(value: int | str | None, path: str, errors: Errors) -> None:
    """Zero or more, or a percentage."""
    if isinstance(value, str):
        check_name(names.is_percent, value, path, errors)
    elif (value or 0) < 0:
        errors.append(invalid(path, value, NOT_NEGATIVE))


def check_not_over_100_percent(value: int | str | None, path: str, errors: Errors) -> None:
    if isinstance(value, str) and not names.is_percent(value) and int(value[:-1]) > 100:
        errors.append(invalid(path, value, "must not be greater than 100%"))


def number_or_percent(value: int | str | None) -> int:
    """The number, of items or of percent; 0 for what is neither."""
    if isinstance(value, str):
        return 0 if names.is_percent(value) else int(value[:-1])
    return value or 0


def same(one: Any, other: Any) -> bool:
    """Equal where an empty value is as good as none, as upstream compares objects."""
    if one == other:
        return True
    if not one or not other:
        return _is_empty(one) and _is_empty(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return _is_empty(one) and _is_empty(other)


def difference(old: Any, new: Any, path: str = "") -> list[str]:
    """What changed, one line each way for each field."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line for key in keys for line in difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for at, (before, after) in pairs for line in difference(before, after, f"{path}[{at}]")]
    if same(old, new):
        return []

    lines = [] if old is None else [f"- {path}: {shown(old)}"]
    return lines if new is None else [*lines, f"+ {path}: {shown(new)}"]


def _is_empty(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return not value
