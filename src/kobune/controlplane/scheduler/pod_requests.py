"""What a pod asks of a node: the sum of its containers, the largest init container, sidecars, pod-level requests, overhead.

Source: Kubernetes documentation, Init Containers ("Resource sharing within containers"), Sidecar Containers, Pod-level
resources, Pod Overhead; upstream component-helpers resource.PodRequests.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kobune.api.objects.core import AnyContainerStatus, Quantities
from kobune.api.objects.scheduling import Pod, PodContainer, PodSpec
from kobune.api.quantity import cpu_millicores, to_bytes

CPU, MEMORY, EPHEMERAL_STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"

# What a container without a request counts as when nodes are scored. Source: upstream GetNonzeroRequests.
ASSUMED_MILLICORES = 100
ASSUMED_MEMORY_BYTES = 200 * 1024 * 1024

# Requests that may be made for a whole pod. Source: upstream SupportedPodLevelResources.
_POD_LEVEL = (CPU, MEMORY)
_POD_LEVEL_PREFIX = "hugepages-"


Amounts = dict[str, int]  # By resource name: cpu in millicores, everything else in whole units (bytes, devices).


class Requests(NamedTuple):
    """What counts against a node's allocatable, and what scoring pretends for containers that ask for nothing."""

    amounts: Amounts
    assumed_millicores: int
    assumed_memory_bytes: int


def amount_of(resource: str, quantity: str | int | float) -> int:
    """A quantity as an integer: millicores of cpu, whole units of the rest, rounded up."""
    return cpu_millicores(quantity) if resource == CPU else to_bytes(quantity)


def amounts_of(quantities: Quantities) -> Amounts:
    """All quantities of a resource list as integers."""
    return {resource: amount_of(resource, quantity) for resource, quantity in quantities.items()}


def pod_requests(pod: Pod) -> Requests:
    """The requests of a whole pod, those of a running pod with its resizes: the larger of wanted and given."""
    spec = pod.spec
    resized = _resized(pod)
    amounts = _total(spec, {}, resized)
    assumed = _total(spec, {CPU: ASSUMED_MILLICORES, MEMORY: ASSUMED_MEMORY_BYTES}, resized)
    return Requests(amounts, assumed.get(CPU, 0), assumed.get(MEMORY, 0))


def _total(spec: PodSpec, missing: Amounts, resized: Mapping[str, Amounts]) -> Amounts:
    running: Amounts = {}
    for container in spec.containers:
        _add(running, _of_container(container, missing, resized))
    starting = _largest_start(spec.init_containers, missing, resized, running)
    _raise_to(running, starting)
    if spec.resources is not None:
        for resource, quantity in spec.resources.requests.items():
            if resource in _POD_LEVEL or resource.startswith(_POD_LEVEL_PREFIX):
                running[resource] = amount_of(resource, quantity)
    _add(running, amounts_of(spec.overhead))
    return running


def _largest_start(
    init_containers: Iterable[PodContainer], missing: Amounts, resized: Mapping[str, Amounts], running: Amounts
) -> Amounts:
    """The most that is needed while starting; sidecars are added to `running` and to every init container after them."""
    sidecars: Amounts = {}
    largest: Amounts = {}
    for container in init_containers:
        own = _of_container(container, missing, resized)
        if container.restart_policy == "Always":
            _add(running, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _raise_to(largest, own)
    return largest


def _of_container(container: PodContainer, missing: Amounts, resized: Mapping[str, Amounts]) -> Amounts:
    own = amounts_of(container.resources.requests)
    _raise_to(own, resized.get(container.name, {}))
    return {**missing, **own} if missing else own


def _resized(pod: Pod) -> Mapping[str, Amounts]:
    """By container, what the kubelet has given it. Source: Kubernetes documentation, Resize CPU and Memory Resources."""
    if not pod.spec.node_name:
        return {}
    return {**_given(pod.status.container_statuses), **_given(pod.status.init_container_statuses)}


def _given(statuses: Sequence[AnyContainerStatus]) -> dict[str, Amounts]:
    return {
        status.name: amounts_of(status.resources.requests)
        for status in statuses
        if status.resources is not None and status.resources.requests
    }


def _add(total: Amounts, more: Amounts) -> None:
    for resource, amount in more.items():
        total[resource] = total.get(resource, 0) + amount


def _raise_to(total: Amounts, least: Amounts) -> None:
    for resource, amount in least.items():
        if amount > total.get(resource, 0):
            total[resource] = amount
