"""DefaultIngressClass: an Ingress that names no class gets the newest of those marked as the default."""

from collections.abc import Awaitable

import orjson

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.newest import newest
from kobune.controlplane.apiserver.registry.registry import Registry

MARK = "ingressclass.kubernetes.io/is-default-class"
OLD_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass:
    name = "DefaultIngressClass"
    operations = ("CREATE",)
    resources = ("ingresses",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("networking.k8s.io", "v1", "IngressClass")

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._admit(attributes)

    def validate(self, attributes: Attributes) -> None:
        return None

    async def _admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        spec = attributes.object.setdefault("spec", {})
        annotations = attributes.object["metadata"].get("annotations") or {}
        if spec.get("ingressClassName") is not None or OLD_ANNOTATION in annotations:
            return
        cache = await self._registry.cache(self._kind)
        classes: list[Json] = [orjson.loads(item.body) for item in cache.list() if MARK.encode() in item.body]
        chosen = newest(one for one in classes if (one["metadata"].get("annotations") or {}).get(MARK) == "true")
        if chosen is not None:
            spec["ingressClassName"] = chosen["metadata"]["name"]
