"""References to fields, resources and files, in environment variables and downward API volumes."""

from collections.abc import Iterable

from kobune.api.errors import Json


def default_references(items: Iterable[Json] | None) -> None:
    for item in items or ():
        default_reference(item)


def default_reference(source: Json) -> None:
    """Whichever reference `source` holds."""
    reference = source.get("fieldRef")
    if reference is not None and not reference.get("apiVersion"):
        reference["apiVersion"] = "v1"
    resource = source.get("resourceFieldRef")
    if resource is not None and "divisor" not in resource:
        resource["divisor"] = "0"  # A quantity that upstream always writes.
    file_key = source.get("fileKeyRef")
    if file_key is not None and "optional" not in file_key:
        file_key["optional"] = False
