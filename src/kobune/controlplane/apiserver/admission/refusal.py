"""How a plugin refuses."""

from kobune.api.errors import ApiError, FieldError, Forbidden, forbidden
from kobune.controlplane.apiserver.admission.attributes import Attributes


def refused(attributes: Attributes, why: str, *causes: FieldError) -> Forbidden:
    """`pods "web" is forbidden: WHY`. Source: upstream admission.NewForbidden."""
    call = attributes.call
    error = forbidden(call.kind.plural, name_of(attributes), why, group=call.kind.group)
    error.causes = causes
    return error


def plain_failure(why: str) -> ApiError:
    """500 without a reason: what a plugin of upstream's tells as it is."""
    error = ApiError(why)
    error.reason = ""
    return error


def name_of(attributes: Attributes) -> str:
    """What the object is called, as far as it is known yet."""
    meta = (attributes.object or {}).get("metadata") or {}
    name: str = attributes.call.name or meta.get("name") or meta.get("generateName") or "Unknown"
    return name
