"""The scopes that narrow a quota to some objects."""

from kobune.api.errors import Json


def scopes_of(quota: Json) -> list[Json]:
    """As requirements, all of which must hold."""
    spec = quota.get("spec") or {}
    named = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return [*named, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def selects(scope: Json, value: str) -> bool:
    """Whether a requirement holds for what has this value, "" for none."""
    match scope.get("operator"):
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
        case "In":
            return value in (scope.get("values") or ())
        case "NotIn":
            return value not in (scope.get("values") or ())
    return False
