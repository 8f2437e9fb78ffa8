"""The columns of pods: what their containers are at, in one word."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kobune.api.errors import Json
from kobune.api.timestamps import parse_time
from kobune.controlplane.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    Column,
    GroupKind,
    Printer,
    age,
    images_of,
    labels_text,
    name_of,
    part,
)  # fmt: skip
from kobune.controlplane.apiserver.tables.durations import human_duration

# Why a node agent that cannot be reached leaves a pod in doubt. Source: upstream NodeUnreachablePodReason.
_NODE_LOST = "NodeLost"
_COMPLETED = {
    "Succeeded": ("Succeeded", "The pod has completed successfully."),
    "Failed": ("Failed", "The pod failed."),
}


class _Restarts:
    """How often containers restarted, and when last."""

    def __init__(self) -> None:
        self.count = 0
        self.last: datetime | None = None

    def add(self, status: Json) -> None:
        self.count += status.get("restartCount", 0)
        finished = part(part(status, "lastState"), "terminated").get("finishedAt")
        if finished:
            moment = parse_time(finished)
            self.last = max(self.last, moment) if self.last else moment

    def text(self, now: datetime) -> str:
        if self.count and self.last:
            return f"{self.count} ({human_duration((now - self.last).total_seconds())} ago)"
        return str(self.count)


def pod_cells(pod: Json, now: datetime) -> list[Any]:
    spec, status = part(pod, "spec"), part(pod, "status")
    ready, total, reason, restarts = _summary(pod, spec, status)
    addresses = status.get("podIPs") or ()
    return [
        name_of(pod),
        f"{ready}/{total}",
        reason,
        restarts.text(now),
        age(pod, now),
        (addresses[0].get("ip") if addresses else "") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(spec, status),
    ]


def pod_conditions(pod: Json) -> list[Json]:
    """What a row says of a pod that has ended; clients may hide such rows."""
    ended = _COMPLETED.get(part(pod, "status").get("phase", ""))
    if ended is None:
        return []
    return [{"type": "Completed", "status": "True", "reason": ended[0], "message": ended[1]}]


def _summary(pod: Json, spec: Json, status: Json) -> tuple[int, int, str, _Restarts]:
    """Ready containers, all containers, the reason in one word, restarts. Source: upstream printPod."""
    phase = status.get("phase", "")
    reason = status.get("reason") or phase
    conditions = status.get("conditions") or ()
    if any(one["type"] == "PodScheduled" and one.get("reason") == "SchedulingGated" for one in conditions):
        reason = "SchedulingGated"
    sidecars = {one["name"] for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    initial, ready, restarts, of_sidecars = _initializing(spec, status, sidecars)
    if initial:
        reason = initial
    if not initial or _is_true(conditions, "Initialized"):
        restarts = of_sidecars  # Those of containers that ran to their end no longer count.
        reason, running = _running(status, conditions, reason, restarts)
        ready += running
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == _NODE_LOST:
            reason = "Unknown"
        elif phase not in _COMPLETED:
            reason = "Terminating"
    return ready, total, reason, restarts


def _initializing(spec: Json, status: Json, sidecars: set[str]) -> tuple[str, int, _Restarts, _Restarts]:
    """What keeps the pod from being initialized ("" when nothing), ready sidecars, restarts of all and of sidecars."""
    restarts, of_sidecars, ready = _Restarts(), _Restarts(), 0
    for position, container in enumerate(status.get("initContainerStatuses") or ()):
        restarts.add(container)
        is_sidecar = container["name"] in sidecars
        if is_sidecar:
            of_sidecars.add(container)
        state = part(container, "state")
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if ended is not None:
            return f"Init:{_end_reason(ended)}", ready, restarts, of_sidecars
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", ready, restarts, of_sidecars
        return f"Init:{position}/{len(spec.get('initContainers') or ())}", ready, restarts, of_sidecars
    return "", ready, restarts, of_sidecars


def _running(status: Json, conditions: Iterable[Json], reason: str, restarts: _Restarts) -> tuple[str, int]:
    """The reason as the main containers give it, the first one's above the others', and how many are ready."""
    ready, failure = 0, ""
    for container in reversed(status.get("containerStatuses") or ()):
        restarts.add(container)
        state = part(container, "state")
        ended, waiting = state.get("terminated"), state.get("waiting")
        if waiting is not None and waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = _end_reason(ended)
            if ended.get("exitCode", 0) != 0:
                failure = reason
        elif container.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed":
        # One container that has ended does not make a pod that goes on completed.
        if ready and _is_true(conditions, "Ready"):
            reason = "Running"
        elif failure:
            reason = failure
        elif ready:
            reason = "NotReady"
    return reason, ready


def _end_reason(ended: Json) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _is_true(conditions: Iterable[Json], kind: str) -> bool:
    return next((one["status"] == "True" for one in conditions if one["type"] == kind), False)


def _gates(spec: Json, status: Json) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return NONE
    conditions = status.get("conditions") or ()
    return f"{sum(_is_true(conditions, gate['conditionType']) for gate in gates)}/{len(gates)}"


def template_cells(obj: Json, now: datetime) -> list[Any]:
    template = part(obj, "template")
    names, images = images_of(part(template, "spec").get("containers"))
    return [name_of(obj), names, images, labels_text(part(template, "metadata").get("labels"))]


PRINTERS: dict[GroupKind, Printer] = {
    ("", "Pod"): Printer(
        (
            NAME,
            Column("Ready", "How many of the pod's containers are ready for traffic."),
            Column("Status", "What the pod's containers are at."),
            Column("Restarts", "How often containers of the pod have restarted, and when last."),
            AGE,
            Column("IP", "The pod's address.", priority=1),
            Column("Node", "The node the pod is bound to.", priority=1),
            Column("Nominated Node", "The node on which room is being made for the pod.", priority=1),
            Column("Readiness Gates", "How many of the further conditions for readiness are met.", priority=1),
        ),
        pod_cells,
    ),
    ("", "PodTemplate"): Printer(
        (
            NAME,
            Column("Containers", "The names of the containers in the template."),
            Column("Images", "The images of the containers in the template."),
            Column("Pod Labels", "The labels of the template."),
        ),
        template_cells,
    ),
}
