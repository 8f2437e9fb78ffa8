"""TaintNodesByCondition: a new node takes no pods until it has been seen to be ready."""

from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


class TaintNodesByCondition:
    name = "TaintNodesByCondition"
    operations = ("CREATE",)
    resources = ("nodes",)

    def __init__(self, registry: Registry) -> None:
        pass

    def admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        spec = attributes.object.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(one.get("key") == NOT_READY["key"] and one.get("effect") == NOT_READY["effect"] for one in taints):
            spec["taints"] = [*taints, dict(NOT_READY)]

    def validate(self, attributes: Attributes) -> None:
        return None
