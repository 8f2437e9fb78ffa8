"""DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or cannot be reached."""

from collections.abc import Sequence

from kobune.api.catalogue import Kind
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.registry import Registry

SECONDS = 300
TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class DefaultTolerationSeconds:
    name = "DefaultTolerationSeconds"
    operations = ("CREATE", "UPDATE")
    resources = ("pods",)

    def __init__(self, registry: Registry) -> None:
        pass

    def admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        spec = attributes.object.setdefault("spec", {})
        tolerations = spec.get("tolerations") or []
        missing = [
            {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}
            for taint in TAINTS
            if not any(
                one.get("key", "") in (taint, "") and one.get("effect", "") in ("NoExecute", "") for one in tolerations
            )
        ]
        if missing:
            spec["tolerations"] = [*tolerations, *missing]

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return ()

    def validate(self, attributes: Attributes) -> None:
        return None
