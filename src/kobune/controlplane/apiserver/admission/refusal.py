"""How a plugin refuses."""

from kobune.api.errors import FieldError, Forbidden, forbidden
from kobune.controlplane.apiserver.admission.attributes import Attributes


def refused(attributes: Attributes, why: str, *causes: FieldError) -> Forbidden:
    """`pods "web" is forbidden: WHY`. Source: upstream admission.NewForbidden."""
    call = attributes.call
    meta = (attributes.object or {}).get("metadata") or {}
    name = call.name or meta.get("name") or meta.get("generateName") or "Unknown"
    error = forbidden(call.kind.plural, name, why, group=call.kind.group)
    error.causes = causes
    return error
