"""DefaultStorageClass: a claim that names no class gets the newest of those marked as the default."""

from collections.abc import Awaitable

import orjson

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.newest import newest
from kobune.controlplane.apiserver.registry.registry import Registry

MARKS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


class DefaultStorageClass:
    name = "DefaultStorageClass"
    operations = ("CREATE",)
    resources = ("persistentvolumeclaims",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("storage.k8s.io", "v1", "StorageClass")

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._admit(attributes)

    def validate(self, attributes: Attributes) -> None:
        return None

    async def _admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        spec = attributes.object.setdefault("spec", {})
        annotations = attributes.object["metadata"].get("annotations") or {}
        # An empty name is a choice: a volume of no class.
        if spec.get("storageClassName") is not None or "volume.beta.kubernetes.io/storage-class" in annotations:
            return
        cache = await self._registry.cache(self._kind)
        classes: list[Json] = [orjson.loads(item.body) for item in cache.list() if b"is-default-class" in item.body]
        chosen = newest(filter(_is_default, classes))
        if chosen is not None:
            spec["storageClassName"] = chosen["metadata"]["name"]


def _is_default(storage_class: Json) -> bool:
    annotations = storage_class["metadata"].get("annotations") or {}
    return any(annotations.get(mark) == "true" for mark in MARKS)
