"""What the kinds of dynamic resource allocation share: names, lists, selectors, configuration, taints."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import orjson

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, invalid, not_supported, required, too_long, too_many
from kobune.api.validation.checks import Errors, check_name, check_one_of, check_present
from kobune.api.validation.volumes import check_driver_name

LONGEST_POOL, LONGEST_ID, LONGEST_EXPRESSION, LONGEST_PARAMETERS = 253, 32, 10 * 1024, 10 * 1024
MAX_SELECTORS, MAX_CONFIGS, MAX_REQUESTS, MAX_BINDING_CONDITIONS = 32, 32, 32, 4
EFFECTS = ("NoExecute", "NoSchedule", "None")
NOT_QUALIFIED = "a fully qualified name must be a domain and a name separated by a slash"

CheckItem = Callable[[Any, str, Errors], None]


def check_items(
    items: Sequence[Any] | None,
    limit: int | None,
    check: CheckItem,
    path: str,
    errors: Errors,
    key: Callable[[Any], Hashable] | None = None,
) -> None:
    """Each item, unless there are more than the limit; with a `key`, no two may have the same."""
    items = items or ()
    if limit is not None and len(items) > limit:
        errors.append(too_many(path, len(items), limit))
        return
    for index, item in enumerate(items):
        check(item, f"{path}[{index}]", errors)
    if key is not None:
        seen = set()
        for index, item in enumerate(items):
            value = key(item)
            if value in seen:
                errors.append(duplicate(f"{path}[{index}]", value))
            seen.add(value)


def check_label(name: str | None, path: str, errors: Errors) -> None:
    check_name(names.is_dns1123_label, name or "", path, errors)


def check_key(key: str, path: str, errors: Errors) -> None:
    check_name(names.is_qualified_name, key, path, errors)


def check_pool_name(name: str | None, path: str, errors: Errors) -> None:
    if check_present(name, path, errors):
        name = name or ""
        if len(name) > LONGEST_POOL:
            errors.append(too_long(path, LONGEST_POOL))
        for part in name.split("/"):
            check_name(names.is_dns1123_subdomain, part, path, errors)


def check_attribute_name(name: str, path: str, errors: Errors) -> None:
    """An identifier, before it perhaps a domain and a slash."""
    domain, slash, identifier = name.partition("/")
    if "/" in identifier:
        return
    if not slash:
        _check_identifier(name, path, errors)
        return
    if not domain:
        errors.append(invalid(path, "", "the domain must not be empty"))
    else:
        check_driver_name(domain, path, errors)
    if not identifier:
        errors.append(invalid(path, "", "the name must not be empty"))
    else:
        _check_identifier(identifier, path, errors)


def check_full_attribute_name(name: str, path: str, errors: Errors) -> None:
    check_attribute_name(name, path, errors)
    if "/" not in name:
        errors.append(invalid(path, name, NOT_QUALIFIED))


def check_selectors(selectors: list[Json] | None, path: str, errors: Errors) -> None:
    check_items(selectors, MAX_SELECTORS, _check_selector, path, errors)


def check_configuration(config: Json, path: str, errors: Errors) -> None:
    opaque = config.get("opaque")
    if opaque is None:
        errors.append(required(f"{path}.opaque"))
        return
    check_driver_name(opaque.get("driver"), f"{path}.opaque.driver", errors)
    check_raw_object(opaque.get("parameters"), f"{path}.opaque.parameters", errors)


def check_raw_object(value: Any, path: str, errors: Errors) -> None:
    if value is None:
        errors.append(required(path))
    elif not isinstance(value, dict):
        errors.append(invalid(path, "<value omitted>", "must be a valid JSON object"))
    elif _size(value) > LONGEST_PARAMETERS:
        errors.append(too_long(path, LONGEST_PARAMETERS))


def check_taint(taint: Json, path: str, errors: Errors, old_effect: str | None = None) -> None:
    """Args: old_effect: of the taint before; what it had already, it may keep."""
    check_key(taint.get("key") or "", f"{path}.key", errors)
    if taint.get("value"):
        check_name(names.is_label_value, taint["value"], f"{path}.value", errors)
    if old_effect is None or old_effect != (taint.get("effect") or ""):
        check_one_of(taint.get("effect"), EFFECTS, f"{path}.effect", errors)


def check_toleration(toleration: Json, path: str, errors: Errors) -> None:
    key, operator, value, effect = (toleration.get(field) or "" for field in ("key", "operator", "value", "effect"))
    if key:
        check_key(key, f"{path}.key", errors)
    match operator:
        case "Exists":
            if value:
                errors.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
        case "Equal":
            check_name(names.is_label_value, value, f"{path}.value", errors)
        case _:
            check_one_of(operator, ("Equal", "Exists"), f"{path}.operator", errors)
    if effect and effect not in EFFECTS:
        errors.append(not_supported(f"{path}.effect", effect, EFFECTS))


def check_binding_conditions(device: Json, path: str, errors: Errors) -> None:
    good, bad = (device.get(field) or [] for field in ("bindingConditions", "bindingFailureConditions"))
    for field, conditions in (("bindingConditions", good), ("bindingFailureConditions", bad)):
        check_items(conditions, MAX_BINDING_CONDITIONS, check_key, f"{path}.{field}", errors, lambda key: key)
    for index, condition in enumerate(bad):
        if condition in good:
            detail = "bindingFailureConditions must not overlap with bindingConditions"
            errors.append(invalid(f"{path}.bindingFailureConditions[{index}]", condition, detail))
    if bad and not good:
        detail = "bindingConditions are required to use bindingFailureConditions"
        errors.append(invalid(f"{path}.bindingConditions", None, detail))
    if good and not bad:
        detail = "bindingFailureConditions are required to use bindingConditions"
        errors.append(invalid(f"{path}.bindingFailureConditions", None, detail))


def check_one_place(part: Json, fields: Sequence[str], missing: str, several: str, path: str, errors: Errors) -> None:
    """Exactly one of the fields says on which nodes something is. Args: missing, several: what is said otherwise."""
    found = [f"`{field}`" for field in fields if part.get(field)]
    if not found:
        errors.append(required(path, missing))
    elif len(found) > 1:
        errors.append(invalid(path, f"{{{', '.join(found)}}}", several))


def _check_selector(selector: Json, path: str, errors: Errors) -> None:
    cel = selector.get("cel")
    if cel is None:
        errors.append(required(f"{path}.cel"))
        return
    expression = cel.get("expression") or ""
    if len(expression.encode()) > LONGEST_EXPRESSION:
        errors.append(too_long(f"{path}.cel.expression", LONGEST_EXPRESSION))


def _check_identifier(name: str, path: str, errors: Errors) -> None:
    if len(name) > LONGEST_ID:
        errors.append(too_long(path, LONGEST_ID))
    check_name(names.is_c_identifier, name, path, errors)


def _size(value: Json) -> int:
    return len(orjson.dumps(value))
