"""AlwaysPullImages: nobody uses an image that only another's credentials have brought onto the node."""

from collections.abc import Sequence

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes

FIELDS = ("containers", "initContainers", "ephemeralContainers")


class AlwaysPullImages:
    name = "AlwaysPullImages"
    operations = ("CREATE", "UPDATE")
    resources = ("pods", "pods/ephemeralcontainers")

    def admit(self, attributes: Attributes) -> None:
        spec: Json = (attributes.object or {}).get("spec") or {}
        old: Json = (attributes.old_object or {}).get("spec") or {}
        known = {one.get("image") for field in FIELDS for one in old.get(field) or ()}
        for field in FIELDS:
            for container in spec.get(field) or ():
                # A running pod's pull policies cannot be changed.
                if container.get("image") not in known:
                    container["imagePullPolicy"] = "Always"

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return ()

    def validate(self, attributes: Attributes) -> None:
        return None
