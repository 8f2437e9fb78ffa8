"""RuntimeClass: a pod gets its class's overhead, node selector and tolerations."""

from collections.abc import Awaitable, Sequence

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.quantity import parse_quantity
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.admission.tolerations import merged
from kobune.controlplane.apiserver.registry.registry import Registry

MISMATCH = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
UNCALLED = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


class RuntimeClass:
    name = "RuntimeClass"
    operations = ("CREATE",)
    resources = ("pods",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("node.k8s.io", "v1", "RuntimeClass")

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._admit(attributes) if _class_name(attributes) else None

    def rests_on(self, attributes: Attributes) -> Sequence[Kind] | None:
        return (self._kind,) if _class_name(attributes) else ()

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        if _class_name(attributes):
            return self._validate(attributes)
        if _spec(attributes).get("overhead") is not None:
            raise refused(attributes, UNCALLED)
        return None

    async def _admit(self, attributes: Attributes) -> None:
        found, spec = await self._find(attributes), _spec(attributes)
        overhead = (found.get("overhead") or {}).get("podFixed")
        if found.get("overhead") is not None:
            if spec.get("overhead") and not _equal(spec["overhead"], overhead):
                raise refused(attributes, MISMATCH)
            if overhead is not None:
                spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling")
        if scheduling is None:
            return
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.setdefault(key, value) != value:
                words = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
                raise refused(attributes, f"conflict: {words}; pod.spec.nodeSelector[{key}] = {selector[key]}")
        if selector:
            spec["nodeSelector"] = selector
        if scheduling.get("tolerations"):
            spec["tolerations"] = merged(spec.get("tolerations") or (), scheduling["tolerations"])

    async def _validate(self, attributes: Attributes) -> None:
        found, spec = await self._find(attributes), _spec(attributes)
        if found.get("overhead") is None:
            if spec.get("overhead") is not None:
                raise refused(attributes, UNCALLED)
        elif not _equal(spec.get("overhead"), found["overhead"].get("podFixed")):
            raise refused(attributes, MISMATCH)

    async def _find(self, attributes: Attributes) -> Json:
        """The pod's class. Raises Forbidden when there is none of that name."""
        name = _class_name(attributes)
        found = await self._registry.find(self._kind, "", name)
        if found is None:
            raise refused(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        return found


def _spec(attributes: Attributes) -> Json:
    spec: Json = (attributes.object or {}).get("spec") or {}
    return spec


def _class_name(attributes: Attributes) -> str:
    name: str = _spec(attributes).get("runtimeClassName") or ""
    return name


def _equal(first: Json | None, second: Json | None) -> bool:
    """The same amounts, however they are written."""
    one, other = first or {}, second or {}
    return one.keys() == other.keys() and all(parse_quantity(one[key]) == parse_quantity(other[key]) for key in one)
