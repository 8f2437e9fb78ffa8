"""Gives each Service of type LoadBalancer an address of a local range, as a cloud's load balancer would."""

import ipaddress
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from kobune.api.errors import Json, NotFound
from kobune.api.objects.core import Service
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, For

log = logging.getLogger(__name__)

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
RETRY_SECONDS = 30.0  # While the range is full.


@dataclass(slots=True)
class Addresses:
    """Who has which address."""

    by_service: dict[Key, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def take(self, key: Key, address: str) -> None:
        self.release(key)
        self.by_service[key] = address
        self.used.add(address)

    def release(self, key: Key) -> None:
        address = self.by_service.pop(key, None)
        if address is not None:
            self.used.discard(address)

    def allocate(self, cidr: str, wanted: str) -> str | None:
        """The address asked for, if it is in the range and free; without one the first that is."""
        candidates: Iterable[str] = (str(each) for each in ipaddress.ip_network(cidr).hosts())
        if wanted:
            candidates = [wanted] if ipaddress.ip_address(wanted) in ipaddress.ip_network(cidr) else []
        return next((each for each in candidates if each not in self.used), None)


async def reconcile(key: Key, context: Context) -> float | None:
    """Give, keep or take back the Service's address."""
    service, cidr = context.informer(Service).get(key), context.settings.load_balancer_range
    if service is None or not cidr:
        return None
    held = FINALIZER in service.metadata.finalizers
    ours = service.spec.type == "LoadBalancer" and service.spec.load_balancer_class is None
    if service.is_deleting or not ours:
        if held:
            await _take_back(context, service)
        return None
    if not held:
        finalizers = [*service.metadata.finalizers, FINALIZER]
        metadata = {"resourceVersion": service.metadata.resource_version, "finalizers": finalizers}
        await context.client.patch(Service, key, {"metadata": metadata})
    if service.status.load_balancer.ingress:
        return None
    addresses = context.own(Addresses)
    address = addresses.by_service.get(key) or addresses.allocate(cidr, service.spec.load_balancer_ip)
    if address is None:
        log.warning("load balancer waits for an address", extra={"service": str(key), "range": cidr})
        context.events.warning(service, "SyncLoadBalancerFailed", "Error syncing load balancer: no address is free")
        return RETRY_SECONDS
    context.events.normal(service, "EnsuringLoadBalancer", "Ensuring load balancer")
    addresses.take(key, address)
    status = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
    await context.client.patch_status(Service, key, status)
    context.events.normal(service, "EnsuredLoadBalancer", "Ensured load balancer")
    log.info("load balancer ensured", extra={"service": str(key), "address": address})
    return None


async def _take_back(context: Context, service: Service) -> None:
    context.events.normal(service, "DeletingLoadBalancer", "Deleting load balancer")
    context.own(Addresses).release(service.key)
    log.info("load balancer deleted", extra={"service": str(service.key)})
    with suppress(NotFound):
        if service.status.load_balancer.ingress:
            await context.client.patch_status(Service, service.key, {"loadBalancer": {"ingress": None}})
        left = [each for each in service.metadata.finalizers if each != FINALIZER]
        metadata: Json = {"finalizers": left or None}
        await context.client.patch(Service, service.key, {"metadata": metadata})
    context.events.normal(service, "DeletedLoadBalancer", "Deleted load balancer")


def _prepare(context: Context) -> None:
    addresses = context.own(Addresses)

    def on_change(old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is None:
            return
        ingress = new.status.load_balancer.ingress if new is not None else []
        if ingress and ingress[0].ip:
            addresses.take(service.key, ingress[0].ip)
        elif new is None:
            addresses.release(service.key)

    context.informer(Service).on_change(on_change)


CONTROLLER = Controller(
    "service-lb-controller", (For(Service),), reconcile, prepare=_prepare, component="service-controller"
)
