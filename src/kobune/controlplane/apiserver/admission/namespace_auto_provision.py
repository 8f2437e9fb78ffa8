"""NamespaceAutoProvision: the namespace of what is created is made first, where there is none."""

from kobune.api.errors import AlreadyExists, ApiError, Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.create import create
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.request import MASTER


class NamespaceAutoProvision:
    name = "NamespaceAutoProvision"
    operations = ("CREATE",)
    resources = ("**",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("", "v1", "Namespace")

    async def admit(self, attributes: Attributes) -> None:
        call = attributes.call
        if call.options.dry_run or not call.namespace or (call.kind.name == "Namespace" and not call.kind.group):
            return
        if await self._registry.find_item(self._kind, "", call.namespace) is not None:
            return
        namespace: Json = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": call.namespace}}
        self._registry.default(self._kind, namespace)
        try:
            await create(
                self._registry, Call(self._kind, "", call.namespace, MASTER, call.now, verb="create"), namespace
            )
        except AlreadyExists:
            pass  # Somebody else was faster.
        except ApiError as error:
            raise refused(attributes, str(error)) from error

    def validate(self, attributes: Attributes) -> None:
        return None
