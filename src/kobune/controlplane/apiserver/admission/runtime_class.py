"""RuntimeClass: a pod of a runtime class takes over what the class costs and where it runs.

Source: Kubernetes documentation, Runtime Class and Pod Overhead; upstream plugin/pkg/admission/runtimeclass.
"""

from kobune.api.errors import Json
from kobune.api.quantity import parse_quantity
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry

MISMATCH = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
UNFOUNDED = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


class RuntimeClass:
    name = "RuntimeClass"
    operations = ("CREATE",)
    resources = ("pods",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("node.k8s.io", "v1", "RuntimeClass")

    async def admit(self, attributes: Attributes) -> None:
        runtime = await self._class_of(attributes)
        if runtime is None:
            return
        spec = _spec(attributes)
        overhead = _overhead(runtime)
        if overhead is not None:
            if spec.get("overhead") and not _alike(spec["overhead"], overhead):
                raise refused(attributes, MISMATCH)
            spec["overhead"] = overhead
        scheduling = runtime.get("scheduling") or {}
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.setdefault(key, value) != value:
                raise refused(
                    attributes,
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                    f"pod.spec.nodeSelector[{key}] = {selector[key]}",
                )
        if selector:
            spec["nodeSelector"] = selector
        own = spec.get("tolerations") or []
        added = [one for one in scheduling.get("tolerations") or () if one not in own]
        if added:
            spec["tolerations"] = [*own, *added]

    async def validate(self, attributes: Attributes) -> None:
        runtime = await self._class_of(attributes)
        given, wanted = _spec(attributes).get("overhead"), _overhead(runtime) if runtime else None
        if wanted is None:
            if given is not None:
                raise refused(attributes, UNFOUNDED)
        elif not _alike(given or {}, wanted):
            raise refused(attributes, MISMATCH)

    async def _class_of(self, attributes: Attributes) -> Json | None:
        """The pod's runtime class; None when it names none. Raises Forbidden for one that is not there."""
        name = _spec(attributes).get("runtimeClassName")
        if not name:
            return None
        found = await self._registry.find(self._kind, "", name)
        if found is None:
            raise refused(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        return found


def _spec(attributes: Attributes) -> Json:
    assert attributes.object is not None
    spec: Json = attributes.object.setdefault("spec", {})
    return spec


def _overhead(runtime: Json) -> Json | None:
    """What every pod of the class costs; None for a class that says nothing of it."""
    overhead = runtime.get("overhead")
    return None if overhead is None else overhead.get("podFixed") or {}


def _alike(one: Json, other: Json) -> bool:
    """Whether two lists of quantities are the same amounts, however they are written."""
    return one.keys() == other.keys() and all(
        parse_quantity(str(one[name])) == parse_quantity(str(other[name])) for name in one
    )
