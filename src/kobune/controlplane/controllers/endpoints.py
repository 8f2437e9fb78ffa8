"""Keeps the (deprecated) Endpoints of each Service with a selector."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kobune.api.errors import ApiError, Json, NotFound
from kobune.api.objects.core import Endpoints, Service
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key, ObjectMeta
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps
from kobune.controlplane.controllers.pods import is_namespace_terminating
from kobune.controlplane.controllers.service_pods import (
    HEADLESS,
    belongs_to_endpoints,
    hostname_of,
    index_pods_and_services,
    pods_of,
    services_of_pod,
    target_port,
)

MAX_ADDRESSES = 1000  # In all. Source: upstream maxCapacity.
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY, MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
HEADLESS_LABEL = "service.kubernetes.io/headless"

Subset = Json  # As the API has it.


class EndpointsAsWritten(Endpoints):
    """Endpoints with their subsets as JSON, to compare with what should be."""

    subsets: list[Any] = []  # noqa: RUF012 -- msgspec copies it


async def reconcile(key: Key, context: Context) -> None:
    """One pass over a Service."""
    service = context.informer(Service).get(key)
    known = context.informer(EndpointsAsWritten).get(key)
    if service is None:
        if known is not None and known.metadata.labels.get(MANAGED_BY) == MANAGER:
            await _delete(context, key)
        return
    if service.spec.type == "ExternalName" or not service.spec.selector:
        return
    subsets, over = truncated(plan_subsets(service, pods_of(context, service)))
    labels = {**service.metadata.labels, MANAGED_BY: MANAGER}
    labels.pop(HEADLESS_LABEL, None)
    if service.spec.cluster_ip in ("", HEADLESS):
        labels[HEADLESS_LABEL] = ""
    annotations: dict[str, str | None] = {OVER_CAPACITY: "truncated" if over else None}
    if known is None:
        manifest: Json = {"metadata": {"name": key.name, "namespace": key.namespace, "labels": labels}}
        if over:
            manifest["metadata"]["annotations"] = annotations
        if subsets:
            manifest["subsets"] = subsets
        try:
            await context.client.create(EndpointsAsWritten, manifest)
        except ApiError as error:
            if is_namespace_terminating(error):
                return
            message = f"Failed to create endpoint for service {key}: {error}"
            about = EndpointsAsWritten(metadata=ObjectMeta(name=key.name, namespace=key.namespace))
            context.events.warning(about, "FailedToCreateEndpoint", message)
            raise
        return
    same = (
        known.metadata.labels == labels and known.metadata.annotations.get(OVER_CAPACITY) == annotations[OVER_CAPACITY]
    )
    if same and _comparable(known.subsets) == subsets:
        return
    gone: dict[str, str | None] = {name: None for name in known.metadata.labels if name not in labels}
    metadata: Json = {"labels": {**gone, **labels}, "annotations": annotations}
    patch = {"metadata": metadata, "subsets": subsets or None}
    try:
        await context.client.patch(EndpointsAsWritten, key, patch)
    except ApiError as error:
        context.events.warning(known, "FailedToUpdateEndpoint", f"Failed to update endpoint {key}: {error}")
        raise


def plan_subsets(service: Service, pods: Sequence[Pod]) -> list[Subset]:
    """Addresses grouped by the ports they have in common, in a fixed order. Source: upstream RepackSubsets."""
    publish = service.spec.publish_not_ready_addresses
    grouped: dict[tuple[tuple[str, str, int, str], ...], dict[str, list[Json]]] = {}
    for pod in pods:
        if not belongs_to_endpoints(pod, terminating=publish):
            continue
        ports = tuple(sorted(_ports(service, pod)))
        if service.spec.ports and not ports:
            continue
        if not service.spec.ports and service.spec.cluster_ip != HEADLESS:
            continue
        readiness = "addresses" if publish or pod.is_ready else "notReadyAddresses"
        grouped.setdefault(ports, {}).setdefault(readiness, []).append(_address(service, pod))
    subsets = []
    for ports, addresses in sorted(grouped.items()):
        subset: Subset = {
            name: sorted(addresses[name], key=lambda address: (address["ip"], address["targetRef"]["uid"]))
            for name in ("addresses", "notReadyAddresses")
            if name in addresses
        }
        if ports:
            subset["ports"] = [_port_json(*port) for port in ports]
        subsets.append(subset)
    return subsets


def truncated(subsets: list[Subset]) -> tuple[list[Subset], bool]:
    """At most MAX_ADDRESSES in all, ready ones first; and whether any had to go."""
    total = sum(len(subset.get(name, ())) for subset in subsets for name in ("addresses", "notReadyAddresses"))
    if total <= MAX_ADDRESSES:
        return subsets, False
    room = MAX_ADDRESSES
    cut: list[Subset] = [dict(subset) for subset in subsets]
    for name in ("addresses", "notReadyAddresses"):
        for subset in cut:
            kept = subset.pop(name, [])[:room]
            room -= len(kept)
            if kept:
                subset[name] = kept
    return [subset for subset in cut if "addresses" in subset or "notReadyAddresses" in subset], True


def _ports(service: Service, pod: Pod) -> Iterable[tuple[str, str, int, str]]:
    for port in service.spec.ports:
        number = target_port(pod, port)
        if number is not None:
            yield (port.name, port.protocol, number, port.app_protocol or "")


def _port_json(name: str, protocol: str, number: int, app_protocol: str) -> Json:
    entry: Json = {"name": name} if name else {}
    entry |= {"port": number, "protocol": protocol}
    return entry | {"appProtocol": app_protocol} if app_protocol else entry


def _address(service: Service, pod: Pod) -> Json:
    address: Json = {
        "ip": pod.status.pod_ip or pod.status.pod_ips[0].ip,
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
    }
    if pod.spec.node_name:
        address["nodeName"] = pod.spec.node_name
    hostname = hostname_of(pod, service)
    if hostname:
        address["hostname"] = hostname
    return address


def _comparable(subsets: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Without what is empty, as our own are."""
    return [{name: value for name, value in subset.items() if value} for subset in subsets]


async def _delete(context: Context, key: Key) -> None:
    try:
        await context.client.delete(EndpointsAsWritten, key)
    except NotFound:
        return


def _own_key(_context: Context, old: Endpoints | None, new: Endpoints | None) -> tuple[Key, ...]:
    item = new or old
    return (item.key,) if item is not None else ()


CONTROLLER = Controller(
    "endpoints-controller",
    (For(Service), Maps(EndpointsAsWritten, _own_key), Maps(Pod, services_of_pod)),
    reconcile,
    prepare=index_pods_and_services,
)
