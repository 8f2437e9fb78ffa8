"""EndpointSlices as controllers write them: views whose defaults stand for what is left out on the wire."""

from typing import ClassVar, NamedTuple

import msgspec

from kobune.api.objects.core import ObjectReference
from kobune.api.objects.meta import GVK, Object, View, wire_name


class EndpointConditions(View, omit_defaults=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(View):
    name: str = ""


class EndpointHints(View, omit_defaults=True):
    for_zones: list[ForZone] | None = None
    for_nodes: list[ForZone] | None = None


class TargetReference(ObjectReference, omit_defaults=True):
    """The pod that an endpoint is."""


class Endpoint(View, omit_defaults=True):
    addresses: list[str]
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    target_ref: TargetReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class SlicePort(msgspec.Struct, rename=wire_name, kw_only=True, gc=False, omit_defaults=True, frozen=True):
    """Frozen, to be a key: endpoints are grouped by their ports."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(Object):
    gvk: ClassVar[GVK] = GVK("discovery.k8s.io", "v1", "EndpointSlice")
    address_type: str = ""
    endpoints: list[Endpoint] | None = None
    ports: list[SlicePort] | None = None


Ports = tuple[SlicePort, ...]


class Group(NamedTuple):
    """Endpoints that can share slices: of one address family, on the same ports."""

    address_type: str  # "IPv4" or "IPv6".
    ports: Ports


Wanted = dict[Group, dict[str, Endpoint]]
