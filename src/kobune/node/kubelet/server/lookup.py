"""Finds what a request names, or says in upstream's words why it cannot."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from kobune.api.errors import Json
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.runtime.runtime import Container, State


class Refused(Exception):
    """The request cannot be served: HTTP status and plain text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Pods(Protocol):
    """The pods of this node, as the server needs them."""

    def find_pod(self, namespace: str, name: str) -> Pod | None: ...
    def all_pods(self) -> list[Pod]: ...


class Found(NamedTuple):
    pod: Pod
    record: Container


def find_pod(pods: Pods, namespace: str, name: str) -> Pod:
    """The pod. Raises Refused."""
    pod = pods.find_pod(namespace, name)
    if pod is None:
        raise Refused(404, f'pod "{name}" does not exist')
    return pod


def find_running(pods: Pods, state_of: Callable[[str], PodState], namespace: str, name: str, container: str) -> Found:
    """The running container, for exec and attach. Raises Refused."""
    pod = pods.find_pod(namespace, name)
    if pod is None:
        raise Refused(400, "pod does not exist")
    record = state_of(pod.uid).current(container)
    if record is None or record.state is not State.RUNNING:
        raise Refused(404, f'container not found ("{container}")')
    return Found(pod, record)


def find_logged(
    pods: Pods, state_of: Callable[[str], PodState], namespace: str, name: str, container: str, *, previous: bool
) -> Found:
    """The container whose log is meant: the present one, else the one before. Raises Refused."""
    pod = find_pod(pods, namespace, name)
    if pod.find_container(container) is None:
        raise Refused(404, f'container "{container}" not found in pod "{name}"')
    status = _status_of(pod, container)
    if status is None:
        raise Refused(400, f'container "{container}" in pod "{name}" is not available')
    container_id = _logged_id(status, container, name, previous=previous)
    for record in state_of(pod.uid).containers:
        if record.id == container_id.partition("://")[2]:
            return Found(pod, record)
    raise Refused(400, f'container "{container}" in pod "{name}" is not available')


def _logged_id(status: Json, container: str, pod: str, *, previous: bool) -> str:
    """Source: upstream validateContainerLogStatus."""
    state, last = status["state"], (status.get("lastState") or {}).get("terminated") or {}
    if previous:
        if not last.get("containerID"):
            raise Refused(400, f'previous terminated container "{container}" in pod "{pod}" not found')
        return str(last["containerID"])
    if "running" in state:
        return str(status["containerID"])
    ended = (state.get("terminated") or {}).get("containerID") or last.get("containerID")
    if ended:
        return str(ended)
    if "terminated" in state:
        raise Refused(400, f'container "{container}" in pod "{pod}" is terminated')
    match (state.get("waiting") or {}).get("reason", ""):
        case "ErrImagePull":
            why = "image can't be pulled"
        case "ImagePullBackOff":
            why = "trying and failing to pull image"
        case reason:
            why = reason
    raise Refused(400, f'container "{container}" in pod "{pod}" is waiting to start: {why}')


def _status_of(pod: Pod, container: str) -> Json | None:
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for status in pod.status.get(field) or ():
            if status["name"] == container:
                return dict(status)
    return None
