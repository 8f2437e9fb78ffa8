"""Label selectors and node selectors, as they stand in specs."""

from kobune.api import names
from kobune.api.errors import BadRequest, Json
from kobune.api.field_errors import forbidden, invalid, required
from kobune.api.selectors import LabelSelector, labels_from_json
from kobune.api.validation.checks import Errors, check_name
from kobune.api.validation.metadata import check_labels

NOT_AN_OPERATOR = "not a valid selector operator"


def check_label_selector(selector: Json | None, path: str, errors: Errors) -> None:
    if not selector:
        return
    check_labels(selector.get("matchLabels"), f"{path}.matchLabels", errors)
    for index, each in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        values = each.get("values") or ()
        check_operator(each.get("operator") or "", len(values), at, errors)
        check_name(names.is_qualified_name, each.get("key") or "", f"{at}.key", errors)
        for position, value in enumerate(values):
            check_name(names.is_label_value, value, f"{at}.values[{position}]", errors)


def is_empty(selector: Json) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def compiled(selector: Json | None) -> LabelSelector | None:
    """The selector, or None if it cannot be one."""
    try:
        return labels_from_json(selector)
    except BadRequest:
        return None


def check_operator(operator: str, count: int, path: str, errors: Errors) -> None:
    """Args: count: of values."""
    match operator:
        case "In" | "NotIn":
            if not count:
                errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        case "Exists" | "DoesNotExist":
            if count:
                errors.append(
                    forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
                )
        case _:
            errors.append(invalid(f"{path}.operator", operator, NOT_AN_OPERATOR))


def check_node_selector(selector: Json, path: str, errors: Errors) -> None:
    """The required terms of a node affinity."""
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        errors.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
    for index, term in enumerate(terms or ()):
        check_node_term(term, f"{path}.nodeSelectorTerms[{index}]", errors)


def check_node_term(term: Json, path: str, errors: Errors, *, check_values: bool = True) -> None:
    for index, each in enumerate(term.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        values = each.get("values") or ()
        operator = each.get("operator") or ""
        if operator in ("Gt", "Lt"):
            if len(values) != 1:
                errors.append(
                    required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
                )
        else:
            check_operator(operator, len(values), at, errors)
        check_name(names.is_qualified_name, each.get("key") or "", f"{at}.key", errors)
        if check_values:
            for position, value in enumerate(values):
                check_name(names.is_label_value, value, f"{at}.values[{position}]", errors)
    for index, each in enumerate(term.get("matchFields") or ()):
        _check_field(each, f"{path}.matchFields[{index}]", errors)


def _check_field(each: Json, path: str, errors: Errors) -> None:
    values = each.get("values") or ()
    if each.get("operator") not in ("In", "NotIn"):
        errors.append(invalid(f"{path}.operator", each.get("operator") or "", NOT_AN_OPERATOR))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", detail))
    if each.get("key") != "metadata.name":
        errors.append(invalid(f"{path}.key", each.get("key") or "", "not a valid field selector key"))
        return
    for position, value in enumerate(values):
        check_name(names.is_dns1123_subdomain, value, f"{path}.values[{position}]", errors)
