"""Gives the endpoints of Services their topology-aware hints, tells of what has changed, and follows the nodes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kobune.api.objects.core import Node, Service
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context
from kobune.controlplane.controllers.slices import EndpointHints, EndpointSlice, ForZone, Wanted
from kobune.controlplane.controllers.topology import (
    DISABLED,
    ENABLED,
    ZONE,
    Impossible,
    Placed,
    cpu_ratios,
    is_overloaded,
    plan_hints,
    wants_hints,
)


@dataclass(slots=True)
class Topology:
    """What topology-aware hints go by."""

    ratios: dict[str, float] | None = None  # Of CPUs, by zone; None: to be counted anew.
    hinted: dict[Key, dict[str, Counter[str]]] = field(default_factory=dict)  # By Service, family and zone.

    def of(self, nodes: Iterable[Node]) -> dict[str, float]:
        if self.ratios is None:
            self.ratios = cpu_ratios(nodes)
        return self.ratios


def hint(service: Service, wanted: Wanted, slices: Sequence[EndpointSlice], context: Context) -> None:
    """Hint the ready endpoints to zones by the zones' CPUs, if the Service asks for it, and tell of a change."""
    topology = context.own(Topology)
    families = dict.fromkeys(group.address_type for group in wanted)
    if not wants_hints(service.metadata.annotations):
        if topology.hinted.pop(service.key, None):
            for family in families:
                _tell_disabled(service, DISABLED, family, context)
        return
    ratios = topology.of(context.informer(Node).items.values())
    for family in families:
        ready = {
            (group, uid): endpoint
            for group, endpoints in wanted.items()
            for uid, endpoint in endpoints.items()
            if group.address_type == family and endpoint.conditions is not None and endpoint.conditions.ready
        }
        before = _former_hints(family, slices)
        places = [Placed(uid, each.zone or "", before.get(uid, "")) for (_, uid), each in ready.items()]
        try:
            zones = plan_hints(places, ratios)
        except Impossible as reason:
            topology.hinted.pop(service.key, None)
            _tell_disabled(service, str(reason), family, context)
            continue
        for (_, uid), endpoint in ready.items():
            endpoint.hints = EndpointHints(for_zones=[ForZone(name=zones[uid])])
        if service.key not in topology.hinted:
            message = f"{ENABLED}, addressType: {family}"
            context.events.normal(service, "TopologyAwareHintsEnabled", message)
        topology.hinted.setdefault(service.key, {})[family] = Counter(zones.values())


def _former_hints(family: str, slices: Sequence[EndpointSlice]) -> dict[str, str]:
    """The zones that endpoints are hinted to in the slices, by uid."""
    return {
        endpoint.target_ref.uid: endpoint.hints.for_zones[0].name
        for each in slices
        if each.address_type == family
        for endpoint in each.endpoints or ()
        if endpoint.target_ref and endpoint.hints and endpoint.hints.for_zones
    }


def _tell_disabled(service: Service, message: str, family: str, context: Context) -> None:
    context.events.warning(service, "TopologyAwareHintsDisabled", f"{message}, addressType: {family}")


def node_changed(context: Context, old: Node | None, new: Node | None) -> Iterable[Key]:
    """Other shares of CPUs: the Services with hints of which a zone has too few endpoints now."""
    if old is not None and new is not None and _place(old) == _place(new):
        return ()
    topology = context.own(Topology)
    topology.ratios = None
    if not topology.hinted:
        return ()
    ratios = topology.of(context.informer(Node).items.values())
    return [
        key
        for key, families in topology.hinted.items()
        if any(is_overloaded(counts, ratios) for counts in families.values())
    ]


def _place(node: Node) -> tuple[bool, str | None]:
    return node.is_ready, node.metadata.labels.get(ZONE)
