"""NamespaceExists: nothing is written, or deleted, in a namespace that is not there."""

from kobune.api.errors import not_found
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry


class NamespaceExists:
    name = "NamespaceExists"
    operations = ("CREATE", "UPDATE", "DELETE")
    resources = ("**",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("", "v1", "Namespace")

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        call = attributes.call
        if not call.namespace or (call.kind.name == "Namespace" and not call.kind.group):
            return
        if await self._registry.find_item(self._kind, "", call.namespace) is None:
            raise not_found("namespaces", call.namespace)
