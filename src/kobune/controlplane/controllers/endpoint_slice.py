"""Keeps the EndpointSlices of each Service with a selector: at most 100 endpoints each, changed as little as possible."""

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from kobune.api.errors import ApiError, Json, NotFound
from kobune.api.objects.core import Node, Service
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps
from kobune.controlplane.controllers.pods import Unseen, controller_reference, is_namespace_terminating
from kobune.controlplane.controllers.service_pods import (
    HEADLESS,
    belongs_to_endpoints,
    hostname_of,
    index_pods_and_services,
    pods_of,
    services_of_pod,
    target_port,
)
from kobune.controlplane.controllers.slices import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointSlice,
    ForZone,
    Group,
    Ports,
    SlicePort,
    TargetReference,
    Wanted,
)
from kobune.controlplane.controllers.topology import ZONE, wants_hints
from kobune.controlplane.controllers.topology_hints import Topology, hint, node_changed

MAX_ENDPOINTS = 100  # In a slice. Source: upstream --max-endpoints-per-slice.
BEHIND_SECONDS = 1.0
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"


class Change(NamedTuple):
    """What to do to a Service's slices. Nothing else about them changes."""

    create: list[tuple[Group, list[Endpoint]]]
    update: list[tuple[EndpointSlice, list[Endpoint]]]
    delete: list[EndpointSlice]


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass over a Service."""
    service = context.informer(Service).get(key)
    slices = context.informer(EndpointSlice).index("service", key)
    if service is None:
        context.own(Topology).hinted.pop(key, None)
        for each in slices:
            await _delete(context, each)
        return None
    if service.spec.type == "ExternalName" or not service.spec.selector:
        return None
    if context.own(Unseen).is_behind(key, EndpointSlice, context.informer(EndpointSlice), context.clock.monotonic()):
        return BEHIND_SECONDS
    alive = [each for each in slices if not each.is_deleting]
    nodes = context.informer(Node).items
    wanted = wanted_endpoints(service, pods_of(context, service), nodes)
    hint(service, wanted, alive, context)
    change = plan(wanted, alive)
    labels = slice_labels(service)
    touched = {each.name for each, _ in change.update} | {each.name for each in change.delete}
    relabel = [
        each for each in alive if each.name not in touched and not labels.items() <= each.metadata.labels.items()
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for shape, endpoints in change.create:
                group.create_task(_create(context, service, shape, endpoints, labels))
            for each, endpoints in (*change.update, *((each, each.endpoints or []) for each in relabel)):
                group.create_task(_update(context, service, each, endpoints, labels))
            for each in change.delete:
                group.create_task(_delete(context, each))
    except ExceptionGroup as errors:
        if not all(isinstance(each, ApiError) and is_namespace_terminating(each) for each in errors.exceptions):
            message = (
                f"Error updating Endpoint Slices for Service {service.namespace}/{service.name}: {errors.exceptions[0]}"
            )
            context.events.warning(service, "FailedToUpdateEndpointSlices", message)
            raise
    return None


def wanted_endpoints(service: Service, pods: Sequence[Pod], nodes: Mapping[Key, Node]) -> Wanted:
    """The endpoints that the pods are, by their uids, of each family and list of ports."""
    families = service.spec.ip_families or ["IPv4"]
    wanted: Wanted = {}
    for pod in pods:
        if not belongs_to_endpoints(pod, terminating=True):
            continue
        ports = _ports(service, pod)
        for family in families:
            endpoint = _endpoint(service, pod, family, nodes)
            if endpoint is not None:
                wanted.setdefault(Group(family, ports), {})[pod.uid] = endpoint
    for family in families:
        if not any(group.address_type == family for group in wanted):
            wanted[Group(family, ())] = {}  # A slice without endpoints says that there are none.
    return wanted


def plan(wanted: Wanted, slices: Sequence[EndpointSlice]) -> Change:
    """The least that brings the slices to what is wanted. Source: upstream endpointslice reconcileByPortMapping."""
    present: dict[Group, list[EndpointSlice]] = {}
    for each in slices:
        present.setdefault(Group(each.address_type, tuple(each.ports or ())), []).append(each)
    change = Change([], [], [])
    for group, endpoints in wanted.items():
        _plan_group(group, endpoints, present.pop(group, []), change)
    change.delete.extend(each for left in present.values() for each in left)
    return change


def slice_labels(service: Service) -> dict[str, str]:
    """The Service's labels, and those by which its slices are found."""
    own = {SERVICE_NAME: service.name, MANAGED_BY: MANAGER}
    if service.spec.cluster_ip in ("", HEADLESS):
        own[HEADLESS_LABEL] = ""
    return {**{name: value for name, value in service.metadata.labels.items() if name not in own}, **own}


def _plan_group(group: Group, wanted: dict[str, Endpoint], slices: list[EndpointSlice], change: Change) -> None:
    missing = dict(wanted)
    unchanged: list[EndpointSlice] = []
    changed: list[tuple[EndpointSlice, list[Endpoint]]] = []
    for each in sorted(slices, key=lambda item: item.name):
        kept = []
        for endpoint in each.endpoints or ():
            now = missing.pop(endpoint.target_ref.uid, None) if endpoint.target_ref else None
            if now is not None:
                kept.append(now)
        if kept == (each.endpoints or []):
            unchanged.append(each)
        else:
            changed.append((each, kept))
    rest = list(missing.values())
    # First into slices that are written anyway.
    for _, kept in changed:
        room = MAX_ENDPOINTS - len(kept)
        kept.extend(rest[:room])
        rest = rest[room:]
    change.update.extend((each, kept) for each, kept in changed if kept)
    empty = [each for each, kept in changed if not kept]
    blank = [each for each in unchanged if not each.endpoints]
    # Then, when it holds them all, into the fullest slice that has room; else into new ones.
    if rest:
        roomy = [each for each in unchanged if len(each.endpoints or ()) + len(rest) <= MAX_ENDPOINTS]
        if roomy:
            fullest = max(roomy, key=lambda each: len(each.endpoints or ()))
            change.update.append((fullest, [*(fullest.endpoints or ()), *rest]))
            blank = [each for each in blank if each is not fullest]
        else:
            for at in range(0, len(rest), MAX_ENDPOINTS):
                change.create.append((group, rest[at : at + MAX_ENDPOINTS]))
    if not wanted:  # One stays, or is made, to say so.
        if blank:
            blank = blank[1:]
        elif empty:
            change.update.append((empty[0], []))
            empty = empty[1:]
        else:
            change.create.append((group, []))
    change.delete.extend((*empty, *blank))


def _ports(service: Service, pod: Pod) -> Ports:
    ports = []
    for port in service.spec.ports:
        number = target_port(pod, port)
        if number is not None:
            ports.append(SlicePort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol))
    return tuple(ports)


def _endpoint(service: Service, pod: Pod, family: str, nodes: Mapping[Key, Node]) -> Endpoint | None:
    version = 6 if family == "IPv6" else 4
    addresses = [each.ip for each in pod.status.pod_ips if ipaddress.ip_address(each.ip).version == version]
    if not addresses:
        return None
    serving, terminating = pod.is_ready, pod.is_deleting
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    node = nodes.get(Key("", pod.spec.node_name)) if pod.spec.node_name else None
    zone = node.metadata.labels.get(ZONE) if node is not None else None
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=hostname_of(pod, service),
        target_ref=TargetReference(kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.uid),
        node_name=pod.spec.node_name or None,
        zone=zone,
        hints=_hints(service, zone, pod.spec.node_name) if ready else None,
    )


def _hints(service: Service, zone: str | None, node: str) -> EndpointHints | None:
    """For Services that want traffic kept near. Source: upstream trafficdist."""
    preference = service.spec.traffic_distribution
    if preference not in ("PreferClose", "PreferSameZone", "PreferSameNode") or wants_hints(
        service.metadata.annotations
    ):
        return None
    nodes = [ForZone(name=node)] if preference == "PreferSameNode" and node else None
    zones = [ForZone(name=zone)] if zone else None
    return EndpointHints(for_zones=zones, for_nodes=nodes) if zones or nodes else None


async def _create(
    context: Context, service: Service, group: Group, endpoints: list[Endpoint], labels: dict[str, str]
) -> None:
    manifest: Json = {
        "metadata": {
            "generateName": f"{service.name}-",
            "namespace": service.namespace,
            "labels": labels,
            "ownerReferences": [controller_reference(service)],
        },
        "addressType": group.address_type,
        "endpoints": msgspec.to_builtins(endpoints),
        "ports": msgspec.to_builtins(group.ports),
    }
    created = await context.client.create(EndpointSlice, manifest)
    context.own(Unseen).wrote(service.key, created, context.clock.monotonic())


async def _update(
    context: Context, service: Service, item: EndpointSlice, endpoints: list[Endpoint], labels: dict[str, str]
) -> None:
    gone: dict[str, str | None] = {name: None for name in item.metadata.labels if name not in labels}
    patch = {"metadata": {"labels": {**gone, **labels}}, "endpoints": msgspec.to_builtins(endpoints)}
    with suppress(NotFound):
        updated = await context.client.patch(EndpointSlice, item.key, patch)
        context.own(Unseen).wrote(service.key, updated, context.clock.monotonic())


async def _delete(context: Context, item: EndpointSlice) -> None:
    with suppress(NotFound):
        await context.client.delete(EndpointSlice, item.key, uid=item.uid)


def _service_of_slice(_context: Context, old: EndpointSlice | None, new: EndpointSlice | None) -> Iterable[Key]:
    return {key: None for each in (old, new) if each is not None for key in _managed_service(each)}


def _managed_service(item: EndpointSlice) -> tuple[Key, ...]:
    labels = item.metadata.labels
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_NAME):
        return ()
    return (Key(item.namespace, labels[SERVICE_NAME]),)


def _prepare(context: Context) -> None:
    index_pods_and_services(context)
    context.informer(EndpointSlice).add_index("service", _managed_service)


CONTROLLER = Controller(
    "endpointslice-controller",
    (For(Service), Maps(EndpointSlice, _service_of_slice), Maps(Pod, services_of_pod), Maps(Node, node_changed)),
    reconcile,
    prepare=_prepare,
)
