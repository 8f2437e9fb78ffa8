"""Resizing running containers in place: which ones differ from what was applied, and how. Source: upstream allocation."""

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from kobune.api.quantity import parse_quantity
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.pod import Container, Pod, Resources
from kobune.node.kubelet.qos import Requests, pod_requests
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.runtime import runtime as cri
from kobune.node.runtime.runtime import State

RESIZABLE = ("cpu", "memory")


class Resize(NamedTuple):
    container: Container
    record: cri.Container
    needs_restart: bool


class Pending(NamedTuple):
    """Why a resize waits: reason "Deferred" (others must go first) or "Infeasible" (it can never fit)."""

    reason: str
    message: str


def plan_resizes(pod: Pod, state: PodState, applied: Mapping[str, Resources]) -> list[Resize]:
    """Running containers whose cpu or memory is not what their spec now says.

    Args:
        applied: by container id, what each was given; one that is not in it is left alone.
    """
    found = []
    for container in (*(each for each in pod.spec.init_containers if each.is_sidecar), *pod.spec.containers):
        record = state.current(container.name)
        if record is None or record.state is not State.RUNNING or record.id not in applied:
            continue
        changed = _changed(applied[record.id], container.resources)
        if changed:
            restarting = {
                each.resource_name for each in container.resize_policy if each.restart_policy == "RestartContainer"
            }
            found.append(Resize(container, record, bool(changed & restarting)))
    return found


def find_obstacle(pod: Pod, others: list[Requests], config: KubeletConfig) -> Pending | None:
    """What keeps the node from giving the pod all that it asks for; None when there is room."""
    room = config.allocatable()
    wanted = pod_requests(pod)
    amounts = (
        ("cpu", wanted.cpu_millicores, sum(each.cpu_millicores for each in others), room.cpu_millicores),
        ("memory", wanted.memory_bytes, sum(each.memory_bytes for each in others), room.memory_bytes),
    )
    for name, asked, _, capacity in amounts:
        if asked > capacity:
            words = f"Node didn't have enough capacity: {name}, requested: {asked}, capacity: {capacity}"
            return Pending("Infeasible", words)
    for name, asked, used, capacity in amounts:
        if asked + used > capacity:
            words = f"Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
            return Pending("Deferred", words)
    return None


def completed_message(pod: Pod) -> str:
    """For the ResizeCompleted event."""
    containers = []
    for each in pod.spec.containers:
        amounts = {"limits": each.resources.limits, "requests": each.resources.requests}
        containers.append({"name": each.name, "resources": {field: value for field, value in amounts.items() if value}})
    report = {"containers": containers, "generation": pod.metadata.generation}
    return f"Pod resize completed: {orjson.dumps(report).decode()}"


def reported_resources(pod: Pod, container_id: str) -> Resources | None:
    """What the pod's status says the container was given, for one that an earlier kubelet started."""
    for field in ("containerStatuses", "initContainerStatuses"):
        for status in pod.status.get(field) or ():
            if str(status.get("containerID", "")).endswith(f"//{container_id}"):
                given = status.get("resources") or {}
                return Resources(requests=given.get("requests") or {}, limits=given.get("limits") or {})
    return None


def _changed(before: Resources, after: Resources) -> set[str]:
    """The names among cpu and memory whose request or limit differs."""
    return {
        name
        for name in RESIZABLE
        for one, other in ((before.requests, after.requests), (before.limits, after.limits))
        if (name in one) != (name in other)
        or (name in one and parse_quantity(one[name]) != parse_quantity(other[name]))
    }
