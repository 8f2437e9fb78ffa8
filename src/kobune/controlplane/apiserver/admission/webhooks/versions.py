"""What webhooks and policies choose requests by: the versions of an object, and the labels of its namespace."""

from collections.abc import Iterator

from kobune.api.catalogue import Catalogue, Kind
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry


def versions_of(catalogue: Catalogue, kind: Kind) -> Iterator[Kind]:
    """The kind as asked for, then the other versions of the same objects."""
    yield kind
    for other in catalogue:
        if other.prefix == kind.prefix and other.api_version != kind.api_version:
            yield other


async def namespace_labels(registry: Registry, attributes: Attributes) -> dict[str, str] | None:
    """The labels that a namespaceSelector judges; None for what is in no namespace."""
    call = attributes.call
    if call.kind.name == "Namespace" and not call.kind.group:
        obj = attributes.object or attributes.old_object or {"metadata": {}}
        return dict(obj["metadata"].get("labels") or {})
    if not call.namespace:
        return None
    item = await registry.find_item(registry.builtin("", "v1", "Namespace"), "", call.namespace)
    return dict(item.labels) if item is not None else {}
