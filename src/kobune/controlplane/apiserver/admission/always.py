"""AlwaysAdmit, which does nothing, and AlwaysDeny, which lets nothing be changed: deprecated upstream, kept for its flags."""

from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused


class AlwaysAdmit:
    name = "AlwaysAdmit"
    operations: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        return None


class AlwaysDeny:
    name = "AlwaysDeny"
    operations = ("CREATE", "UPDATE", "DELETE", "CONNECT")
    resources = ("**",)

    def admit(self, attributes: Attributes) -> None:
        raise refused(attributes, "admission control is denying all modifications")

    def validate(self, attributes: Attributes) -> None:
        raise refused(attributes, "admission control is denying all modifications")
