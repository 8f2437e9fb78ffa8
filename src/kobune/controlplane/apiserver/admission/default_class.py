"""DefaultStorageClass, DefaultIngressClass: who names no class gets the newest of those marked as the default."""

from collections.abc import Awaitable
from typing import ClassVar

import orjson

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry


class DefaultClass:
    """What both plugins do; they say for which kinds and fields."""

    name: ClassVar[str]
    resources: ClassVar[tuple[str, ...]]
    operations = ("CREATE",)
    of: ClassVar[tuple[str, str, str]]  # The kind of the classes.
    field: ClassVar[str]  # Of `spec`. An empty name in it is a choice too: no class.
    older: ClassVar[str]  # The annotation that named the class before there was the field.
    marks: ClassVar[tuple[str, ...]]  # Annotations of the classes; "true" in one of them marks a default.

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin(*self.of)

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._admit(attributes)

    def validate(self, attributes: Attributes) -> None:
        return None

    async def _admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        spec = attributes.object.setdefault("spec", {})
        annotations = attributes.object["metadata"].get("annotations") or {}
        if spec.get(self.field) is not None or self.older in annotations:
            return
        cache = await self._registry.cache(self._kind)
        classes: list[Json] = [orjson.loads(item.body) for item in cache.list() if b"is-default-class" in item.body]
        # The newest; of those of the same age the first by name.
        chosen = max(
            filter(self._is_default, classes),
            key=lambda one: (one["metadata"]["creationTimestamp"], _reversed(one)),
            default=None,
        )
        if chosen is not None:
            spec[self.field] = chosen["metadata"]["name"]

    def _is_default(self, one: Json) -> bool:
        annotations = one["metadata"].get("annotations") or {}
        return any(annotations.get(mark) == "true" for mark in self.marks)


def _reversed(one: Json) -> tuple[int, ...]:
    return tuple(-ord(char) for char in one["metadata"]["name"])


class DefaultStorageClass(DefaultClass):
    name = "DefaultStorageClass"
    resources = ("persistentvolumeclaims",)
    of = ("storage.k8s.io", "v1", "StorageClass")
    field = "storageClassName"
    older = "volume.beta.kubernetes.io/storage-class"
    marks = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


class DefaultIngressClass(DefaultClass):
    name = "DefaultIngressClass"
    resources = ("ingresses",)
    of = ("networking.k8s.io", "v1", "IngressClass")
    field = "ingressClassName"
    older = "kubernetes.io/ingress.class"
    marks = ("ingressclass.kubernetes.io/is-default-class",)
