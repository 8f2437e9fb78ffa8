"""PersistentVolumeClaimResize: a claim grows only when it is bound and its class allows it."""

from collections.abc import Awaitable

from kobune.api.errors import Json
from kobune.api.quantity import Number, parse_quantity
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
UNBOUND = "Only bound persistent volume claims can be expanded"
NOT_ALLOWED = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


class PersistentVolumeClaimResize:
    name = "PersistentVolumeClaimResize"
    operations = ("UPDATE",)
    resources = ("persistentvolumeclaims",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("storage.k8s.io", "v1", "StorageClass")

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        new, old = attributes.object or {}, attributes.old_object or {}
        return self._validate(attributes, new, old) if _size(new) > _size(old) else None

    async def _validate(self, attributes: Attributes, new: Json, old: Json) -> None:
        if (old.get("status") or {}).get("phase") != "Bound":
            raise refused(attributes, UNBOUND)
        name = _class(new)
        found = await self._registry.find(self._kind, "", name) if name and name == _class(old) else None
        if not (found or {}).get("allowVolumeExpansion"):
            raise refused(attributes, NOT_ALLOWED)


def _size(claim: Json) -> Number:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return parse_quantity(requests.get("storage", "0"))


def _class(claim: Json) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    return str(annotations.get(CLASS_ANNOTATION) or (claim.get("spec") or {}).get("storageClassName") or "")
