"""NamespaceLifecycle: nothing new in namespaces that are missing or ending; some namespaces never end."""

from collections.abc import Awaitable, Sequence

from kobune.api.catalogue import Kind
from kobune.api.errors import FieldError, forbidden, not_found
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Item

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle:
    name = "NamespaceLifecycle"
    operations = ("CREATE", "UPDATE", "DELETE")
    resources = ("*", "pods/binding")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("", "v1", "Namespace")
        self._phase = self._kind.selectable.index("status.phase")

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        call = attributes.call
        if call.kind.name == "Namespace" and not call.kind.group:
            if attributes.operation == "DELETE" and call.name in IMMORTAL:
                raise forbidden("namespaces", call.name, "this namespace may not be deleted")
            return None
        if not call.namespace or attributes.operation == "DELETE":
            return None
        cache = self._registry.open_cache(self._kind)
        namespace = cache.get("", call.namespace) if cache is not None else None
        if namespace is None:
            return self._find_and_check(attributes)
        self._check(attributes, namespace)
        return None

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return (self._kind,)

    def validate(self, attributes: Attributes) -> None:
        return None

    async def _find_and_check(self, attributes: Attributes) -> None:
        namespace = await self._registry.find_item(self._kind, "", attributes.call.namespace)
        if namespace is None:
            raise not_found("namespaces", attributes.call.namespace)
        self._check(attributes, namespace)

    def _check(self, attributes: Attributes, namespace: Item) -> None:
        if attributes.operation == "CREATE" and namespace.fields[self._phase] == "Terminating":
            raise refused(
                attributes,
                f"unable to create new content in namespace {namespace.name} because it is being terminated",
                FieldError(
                    "metadata.namespace", "NamespaceTerminating", f"namespace {namespace.name} is being terminated"
                ),
            )
