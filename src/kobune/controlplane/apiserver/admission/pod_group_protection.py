"""PodGroupProtection: a group of pods is not deleted under its pods."""

from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry

FINALIZER = "scheduling.k8s.io/podgroup-protection"


class PodGroupProtection:
    name = "PodGroupProtection"
    operations = ("CREATE",)
    resources = ("podgroups",)

    def __init__(self, registry: Registry) -> None:
        pass

    def admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        meta = attributes.object["metadata"]
        if FINALIZER not in (meta.get("finalizers") or ()):
            meta["finalizers"] = [*(meta.get("finalizers") or ()), FINALIZER]

    def validate(self, attributes: Attributes) -> None:
        return None
