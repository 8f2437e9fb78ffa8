"""Gives every node a range of pod addresses of its own."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, Maps, Settings

RETRY_SECONDS = 30.0  # While no range is free.


@dataclass(slots=True)
class Ranges:
    """Ranges given away, by node name; `next` is where the search for a free one goes on."""

    by_node: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    next: int = 0

    def take(self, node: str, cidr: str) -> None:
        """The node has this range."""
        self.release(node)
        self.by_node[node] = cidr
        self.used.add(cidr)

    def release(self, node: str) -> None:
        """The node is gone."""
        cidr = self.by_node.pop(node, None)
        if cidr is not None:
            self.used.discard(cidr)

    def allocate(self, settings: Settings) -> str | None:
        """A free range; None when there is none."""
        whole = ipaddress.ip_network(settings.cluster_cidr)
        size = whole.max_prefixlen - settings.node_cidr_mask_size
        count = 1 << (settings.node_cidr_mask_size - whole.prefixlen)
        for step in range(count):
            number = (self.next + step) % count
            cidr = f"{whole.network_address + (number << size)}/{settings.node_cidr_mask_size}"
            if cidr not in self.used:
                self.next = (number + 1) % count
                return cidr
        return None


async def reconcile(key: Key, context: Context) -> float | None:
    """Give the node a range if it has none."""
    node = context.informer(Node).get(key)
    ranges = context.own(Ranges)
    if node is None or node.is_deleting or node.spec.pod_cidr:
        return None
    cidr = ranges.by_node.get(node.name) or ranges.allocate(context.settings)
    if cidr is None:
        context.events.normal(node, "CIDRNotAvailable", f"Node {node.name} status is now: CIDRNotAvailable")
        return RETRY_SECONDS
    ranges.take(node.name, cidr)  # Before the request, so that no other node gets it meanwhile.
    await context.client.patch(Node, key, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
    return None


def _nodes_without(context: Context, _old: Node | None, new: Node | None) -> Iterable[Key]:
    """The node itself, if it is for us to give it a range."""
    return (new.key,) if context.settings.allocate_node_cidrs and new is not None and not new.spec.pod_cidr else ()


def _prepare(context: Context) -> None:
    ranges = context.own(Ranges)

    def on_change(old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                ranges.release(old.name)
        elif new.spec.pod_cidr:
            ranges.take(new.name, new.spec.pod_cidr)

    context.informer(Node).on_change(on_change)


CONTROLLER = Controller(
    "node-ipam-controller",
    (Maps(Node, _nodes_without),),
    reconcile,
    workers=1,
    prepare=_prepare,
    component="cidrAllocator",
)
