"""CustomResourceDefinitions and APIServices."""

from kobune.api.defaulting.admissionregistration import default_service
from kobune.api.errors import Json


def default_custom_resource_definition(definition: Json) -> None:
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if not names.get("singular"):
        names["singular"] = (names.get("kind") or "").lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = f"{names['kind']}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    client = (conversion.get("webhook") or {}).get("clientConfig") or {}
    default_service(client.get("service"))
    status = definition.setdefault("status", {})
    if not status.get("storedVersions"):
        stored = next(
            (each["name"] for each in spec.get("versions") or () if each.get("storage") and "name" in each), None
        )
        if stored is not None:
            status["storedVersions"] = [stored]


def default_api_service(service: Json) -> None:
    default_service((service.get("spec") or {}).get("service"))


DEFAULTS = {"APIService": default_api_service, "CustomResourceDefinition": default_custom_resource_definition}
