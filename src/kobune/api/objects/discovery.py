"""Views of discovery.k8s.io."""

from typing import Any, ClassVar

import msgspec

from kobune.api.objects.core import ObjectReference
from kobune.api.objects.meta import GVK, Object, View

SERVICE_NAME = "kubernetes.io/service-name"  # The label that names a slice's Service.
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


class EndpointConditions(View):
    """None is unknown: to be read as ready, and as serving when ready; never as terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(View):
    addresses: list[str] = []
    conditions: EndpointConditions = msgspec.field(default_factory=EndpointConditions)
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: ObjectReference | None = None
    hints: dict[str, Any] | None = None

    @property
    def is_ready(self) -> bool:
        return self.conditions.ready is not False

    @property
    def is_serving(self) -> bool:
        return self.is_ready if self.conditions.serving is None else self.conditions.serving

    @property
    def is_terminating(self) -> bool:
        return self.conditions.terminating is True


class SlicePort(View):
    """`port` None is every port."""

    name: str = ""
    port: int | None = None
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSlice(Object):
    gvk: ClassVar[GVK] = GVK("discovery.k8s.io", "v1", "EndpointSlice")
    address_type: str = "IPv4"
    endpoints: list[Endpoint] = []
    ports: list[SlicePort] = []

    @property
    def service(self) -> str:
        """The name of the Service it belongs to; "" is none."""
        return self.metadata.labels.get(SERVICE_NAME, "")
