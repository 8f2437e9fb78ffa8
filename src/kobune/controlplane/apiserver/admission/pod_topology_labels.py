"""PodTopologyLabels: a pod on a node carries the node's zone and region."""

from collections.abc import Sequence

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels:
    name = "PodTopologyLabels"
    operations = ("CREATE",)
    resources = ("pods", "pods/binding")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("", "v1", "Node")

    def admit(self, attributes: Attributes) -> None:
        obj: Json = attributes.object or {}
        if attributes.call.subresource:
            target = obj.get("target") or {}
            node = target.get("name") if target.get("kind", "Node") in ("Node", "") else ""
        else:
            node = (obj.get("spec") or {}).get("nodeName")
        cache = self._registry.open_cache(self._kind) if node else None
        item = cache.get("", node) if cache is not None and node else None
        if item is None:
            return
        found = {label: item.labels[label] for label in LABELS if label in item.labels}
        if found:
            # A Binding's labels become the pod's.
            obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), **found}

    def rests_on(self, attributes: Attributes) -> Sequence[Kind] | None:
        # Of a node, whose labels may change at any time.
        return None if ((attributes.object or {}).get("spec") or {}).get("nodeName") else ()

    def validate(self, attributes: Attributes) -> None:
        return None
