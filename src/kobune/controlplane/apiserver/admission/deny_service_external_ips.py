"""DenyServiceExternalIPs: no Service takes an external address that it does not have yet."""

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused


class DenyServiceExternalIPs:
    name = "DenyServiceExternalIPs"
    operations = ("CREATE", "UPDATE")
    resources = ("services",)

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        if _addresses(attributes.object) - _addresses(attributes.old_object):
            raise refused(attributes, "Use of external IPs is denied by admission control")


def _addresses(service: Json | None) -> set[str]:
    return set(((service or {}).get("spec") or {}).get("externalIPs") or ())
