"""Mirrors Endpoints that people write for Services without a selector into EndpointSlices, which is what proxies read."""

import ipaddress
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from kobune.api.errors import Json, NotFound
from kobune.api.objects.core import EndpointAddress, Endpoints, Service
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps
from kobune.controlplane.controllers.pods import Unseen, controller_reference
from kobune.controlplane.controllers.slices import (
    Endpoint,
    EndpointConditions,
    EndpointSlice,
    SlicePort,
    TargetReference,
)

BEHIND_SECONDS = 1.0
MAX_PER_SUBSET = 1000  # Addresses mirrored of each subset. Source: upstream --mirroring-max-endpoints-per-subset.
MANAGED_BY, MANAGER = "endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io"
SERVICE_NAME, SKIP = "kubernetes.io/service-name", "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"}
)


class Wanted(NamedTuple):
    """The content of one slice."""

    address_type: str
    ports: tuple[SlicePort, ...]
    endpoints: list[Endpoint]


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass over the Endpoints of a name."""
    endpoints = context.informer(Endpoints).get(key)
    slices = context.informer(EndpointSlice).index("mirrored", key)
    if context.own(Unseen).is_behind(key, EndpointSlice, context.informer(EndpointSlice), context.clock.monotonic()):
        return BEHIND_SECONDS
    service = context.informer(Service).get(key)
    if endpoints is None or not is_mirrored(endpoints, service):
        for each in slices:
            await _delete(context, each)
        return None
    spare = [each for each in slices if not each.is_deleting]
    labels, annotations = _marks(endpoints)
    for wanted in plan(endpoints):
        match = next((each for each in spare if _shape(each) == (wanted.address_type, wanted.ports)), None)
        if match is None:
            await _create(context, endpoints, wanted, labels, annotations)
            continue
        spare.remove(match)
        marked = (
            labels.items() <= match.metadata.labels.items()
            and annotations.items() <= match.metadata.annotations.items()
        )
        if (match.endpoints or []) != wanted.endpoints or not marked:
            patch = {
                "metadata": {"labels": labels, "annotations": annotations},
                "endpoints": msgspec.to_builtins(wanted.endpoints),
            }
            with suppress(NotFound):
                updated = await context.client.patch(EndpointSlice, match.key, patch)
                context.own(Unseen).wrote(key, updated, context.clock.monotonic())
    for each in spare:
        await _delete(context, each)
    return None


def is_mirrored(endpoints: Endpoints, service: Service | None) -> bool:
    """Not those that a controller keeps, nor those that elect a leader, nor any that ask not to be."""
    if endpoints.metadata.labels.get(SKIP) == "true" or LEADER in endpoints.metadata.annotations:
        return False
    return service is not None and not service.spec.selector


def plan(endpoints: Endpoints) -> list[Wanted]:
    """A slice for each subset and address family."""
    slices = []
    for subset in endpoints.subsets:
        ports = tuple(
            SlicePort(name=port.name, protocol=port.protocol, port=port.port, app_protocol=port.app_protocol)
            for port in subset.ports
        )
        found: dict[str, list[Endpoint]] = {}
        listed = [(each, True) for each in subset.addresses] + [(each, False) for each in subset.not_ready_addresses]
        for address, ready in listed[:MAX_PER_SUBSET]:
            try:
                version = ipaddress.ip_address(address.ip).version
            except ValueError:
                continue
            found.setdefault(f"IPv{version}", []).append(_endpoint(address, ready))
        slices += [Wanted(family, ports, members) for family, members in found.items()]
    return slices


def _endpoint(address: EndpointAddress, ready: bool) -> Endpoint:
    target = address.target_ref
    return Endpoint(
        addresses=[address.ip],
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        node_name=address.node_name or None,
        target_ref=msgspec.convert(msgspec.to_builtins(target), TargetReference) if target is not None else None,
    )


def _marks(endpoints: Endpoints) -> tuple[dict[str, str], dict[str, str]]:
    labels = {**endpoints.metadata.labels, SERVICE_NAME: endpoints.name, MANAGED_BY: MANAGER}
    annotations = {name: value for name, value in endpoints.metadata.annotations.items() if name not in NOT_COPIED}
    return labels, annotations


def _shape(item: EndpointSlice) -> tuple[str, tuple[SlicePort, ...]]:
    return item.address_type, tuple(item.ports or ())


async def _create(
    context: Context, endpoints: Endpoints, wanted: Wanted, labels: dict[str, str], annotations: dict[str, str]
) -> None:
    manifest: Json = {
        "metadata": {
            "generateName": f"{endpoints.name}-",
            "namespace": endpoints.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controller_reference(endpoints)],
        },
        "addressType": wanted.address_type,
        "endpoints": msgspec.to_builtins(wanted.endpoints),
        "ports": msgspec.to_builtins(wanted.ports),
    }
    created = await context.client.create(EndpointSlice, manifest)
    context.own(Unseen).wrote(endpoints.key, created, context.clock.monotonic())


async def _delete(context: Context, item: EndpointSlice) -> None:
    with suppress(NotFound):
        await context.client.delete(EndpointSlice, item.key, uid=item.uid)


def _mirrored(item: EndpointSlice) -> Sequence[Key]:
    labels = item.metadata.labels
    own = labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in labels
    return (Key(item.namespace, labels[SERVICE_NAME]),) if own else ()


def _of_slice(_context: Context, old: EndpointSlice | None, new: EndpointSlice | None) -> Iterable[Key]:
    return {key: None for each in (old, new) if each is not None for key in _mirrored(each)}


def _of_service(_context: Context, old: Service | None, new: Service | None) -> Iterable[Key]:
    item = new or old
    return (item.key,) if item is not None else ()


def _prepare(context: Context) -> None:
    context.informer(EndpointSlice).add_index("mirrored", _mirrored)


CONTROLLER = Controller(
    "endpointslice-mirroring-controller",
    (For(Endpoints), Maps(EndpointSlice, _of_slice), Maps(Service, _of_service)),
    reconcile,
    prepare=_prepare,
)
