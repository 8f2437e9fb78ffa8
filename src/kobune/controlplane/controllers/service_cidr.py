"""ServiceCIDRs are Ready while they live, and go only when no address would be left without a range.

Source: Kubernetes documentation, Extend Service IP Ranges; upstream's servicecidrs controller.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.lean import AnyObject
from kobune.api.objects.meta import GVK, Condition, Key, Object, View, find_condition
from kobune.api.timestamps import format_time
from kobune.client.client import Patch
from kobune.controlplane.controllers.controller import Context, Controller, Maps

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE_SECONDS = (
    10.0  # API servers are told in the meantime not to allocate from it. Source: upstream deletionGracePeriod.
)
BLOCKED = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


class ServiceCIDRSpec(View):
    cidrs: list[str] = msgspec.field(default_factory=list)


class ServiceCIDRStatus(View):
    conditions: list[Condition] = msgspec.field(default_factory=list)


class ServiceCIDR(Object):
    gvk: ClassVar[GVK] = GVK("networking.k8s.io", "v1", "ServiceCIDR")
    spec: ServiceCIDRSpec = msgspec.field(default_factory=ServiceCIDRSpec)
    status: ServiceCIDRStatus = msgspec.field(default_factory=ServiceCIDRStatus)


class IPAddress(AnyObject):
    """Addresses of Services; the name is the address."""

    gvk: ClassVar[GVK] = GVK("networking.k8s.io", "v1", "IPAddress")


async def reconcile(key: Key, context: Context) -> float | None:
    item = context.informer(ServiceCIDR).get(key)
    if item is None:
        return None
    if item.metadata.deletion_timestamp is None:
        if FINALIZER not in item.metadata.finalizers:
            await context.client.patch(ServiceCIDR, key, {"metadata": {"finalizers": [FINALIZER]}}, how=Patch.STRATEGIC)
        await _say(item, "True", "", "Kubernetes Service CIDR is ready", context)
        return None
    if FINALIZER not in item.metadata.finalizers:
        return None
    others = [each for each in context.informer(ServiceCIDR).items.values() if each.name != item.name]
    if not may_go(item, others, context.informer(IPAddress).items.values()):
        await _say(item, "False", "Terminating", BLOCKED, context)
        return None  # What takes the last address away, or covers it, wakes us.
    left = GRACE_SECONDS - (context.clock.now() - item.metadata.deletion_timestamp).total_seconds()
    if left > 0:
        return left
    rest = [each for each in item.metadata.finalizers if each != FINALIZER]
    metadata: Json = {"resourceVersion": item.metadata.resource_version, "finalizers": rest or None}
    await context.client.patch(ServiceCIDR, key, {"metadata": metadata})
    return None


def may_go(item: ServiceCIDR, others: Sequence[ServiceCIDR], addresses: Iterable[IPAddress]) -> bool:
    """Every address of the range lies in another one too."""
    ranges = [ipaddress.ip_network(cidr) for each in others for cidr in each.spec.cidrs]
    own = [ipaddress.ip_network(cidr) for cidr in item.spec.cidrs]
    uncovered = [
        each for each in own if not any(each.version == other.version and _within(each, other) for other in ranges)
    ]
    if not uncovered:
        return True
    for address in addresses:
        number = ipaddress.ip_address(address.name)
        if any(number in each for each in uncovered) and not any(number in each for each in ranges):
            return False
    return True


def _within(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


async def _say(item: ServiceCIDR, status: str, reason: str, message: str, context: Context) -> None:
    known = find_condition(item.status.conditions, "Ready")
    if known is not None and (known.status, known.reason, known.message) == (status, reason, message):
        return
    same = known is not None and known.status == status
    since = known.last_transition_time if same and known is not None else None
    condition = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(since or context.clock.now()),
    }
    await context.client.patch_status(ServiceCIDR, item.key, {"conditions": [condition]}, how=Patch.STRATEGIC)


def _itself(context: Context, old: ServiceCIDR | None, new: ServiceCIDR | None) -> Iterable[Key]:
    """A range, and those that wait to go: it may cover them."""
    item = new or old
    waiting = [each.key for each in context.informer(ServiceCIDR).items.values() if each.is_deleting]
    return [item.key, *waiting] if item is not None else waiting


def _freed(context: Context, old: IPAddress | None, new: IPAddress | None) -> Iterable[Key]:
    if new is not None:
        return ()
    return [each.key for each in context.informer(ServiceCIDR).items.values() if each.is_deleting]


CONTROLLER = Controller(
    "service-cidr-controller", (Maps(ServiceCIDR, _itself), Maps(IPAddress, _freed)), reconcile, workers=1
)
