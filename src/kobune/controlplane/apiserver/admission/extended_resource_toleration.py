"""ExtendedResourceToleration: a pod that requests a device tolerates the taint of the same name."""

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.tolerations import covers


class ExtendedResourceToleration:
    name = "ExtendedResourceToleration"
    operations = ("CREATE", "UPDATE")
    resources = ("pods",)

    def admit(self, attributes: Attributes) -> None:
        spec: Json = (attributes.object or {}).get("spec") or {}
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        names = {name for one in containers for name in (one.get("resources") or {}).get("requests") or ()}
        for name in sorted(filter(_is_extended, names)):
            wanted = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
            tolerations = spec.setdefault("tolerations", [])
            if not any(covers(one, wanted) for one in tolerations):
                tolerations.append(wanted)

    def validate(self, attributes: Attributes) -> None:
        return None


def _is_extended(name: str) -> bool:
    """Source: upstream IsExtendedResourceName."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")
