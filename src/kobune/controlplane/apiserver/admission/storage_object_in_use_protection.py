"""StorageObjectInUseProtection: volumes and claims in use are not deleted under their users."""

from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry

FINALIZERS = {
    "PersistentVolume": "kubernetes.io/pv-protection",
    "PersistentVolumeClaim": "kubernetes.io/pvc-protection",
}


class StorageObjectInUseProtection:
    name = "StorageObjectInUseProtection"
    operations = ("CREATE",)
    resources = ("persistentvolumes", "persistentvolumeclaims")

    def __init__(self, registry: Registry) -> None:
        pass

    def admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        meta, finalizer = attributes.object["metadata"], FINALIZERS[attributes.call.kind.name]
        if finalizer not in (meta.get("finalizers") or ()):
            meta["finalizers"] = [*(meta.get("finalizers") or ()), finalizer]

    def validate(self, attributes: Attributes) -> None:
        return None
