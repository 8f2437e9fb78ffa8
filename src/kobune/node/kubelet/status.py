"""The pod's status from its spec and what the runtime has; pure. Source: upstream generateAPIPodStatus."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.timestamps import format_time
from kobune.node.kubelet.plan import policy_of, should_restart
from kobune.node.kubelet.pod import Container, Pod, Resources
from kobune.node.kubelet.qos import qos_class
from kobune.node.kubelet.resize import Pending
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.runtime import runtime as cri
from kobune.node.runtime.runtime import State

CREATING = ("ContainerCreating", "")
INITIALIZING = ("PodInitializing", "")
UNKNOWN_EXIT = 137
RESIZE_PENDING = "PodResizePending"


class Waiting(NamedTuple):
    """Why a container does not run, as its state says it."""

    reason: str
    message: str = ""


class Verdict(NamedTuple):
    """The kubelet's own judgement on the pod, which goes before what its containers say."""

    reason: str
    message: str
    phase: str = "Failed"
    disruption: bool = False  # It counts as a disruption: a DisruptionTarget condition.


class Facts(NamedTuple):
    """What the status is made from besides the pod."""

    state: PodState
    now: datetime
    start_time: datetime
    runtime_name: str = "containerd"
    waiting: Mapping[str, Waiting] = {}  # By container name.
    ready: frozenset[str] = frozenset()  # Ids of running containers whose readiness holds.
    started: frozenset[str] = frozenset()
    messages: Mapping[str, str] = {}  # Termination messages by container id.
    host_ips: Sequence[str] = ()
    pod_ips: Sequence[str] = ()
    ending: bool = False  # Nothing of it will be started again.
    verdict: Verdict | None = None
    applied: Mapping[str, Resources] = {}  # What running containers were given, where it may differ from the spec.
    pending_resize: Pending | None = None


def render_status(pod: Pod, facts: Facts) -> Json:
    """The whole status. Conditions that did not change keep their times from `pod.status`."""
    spec = pod.spec
    init = [_container_status(pod, each, facts, init=True) for each in spec.init_containers]
    main = [_container_status(pod, each, facts, init=False) for each in spec.containers]
    ephemeral = [_container_status(pod, each, facts, init=False, ephemeral=True) for each in spec.ephemeral_containers]
    phase = facts.verdict.phase if facts.verdict else pod_phase(pod, init, main, ending=facts.ending)
    # A finished pod stays finished, whatever becomes of its containers.
    if pod.is_finished and not facts.verdict:
        phase = pod.phase
    elif phase in ("Succeeded", "Failed") and not facts.verdict and not facts.ending:
        # Final only when nothing runs any more: sidecars end after the others.
        still = any(each.state is State.RUNNING for each in facts.state.containers)
        phase = "Running" if still else phase
    status: Json = {"phase": phase}
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    if facts.verdict:
        status |= {"reason": facts.verdict.reason, "message": facts.verdict.message}
    elif pod.status.get("reason"):
        status |= {name: pod.status[name] for name in ("reason", "message") if pod.status.get(name)}
    if facts.host_ips:
        status |= {"hostIP": facts.host_ips[0], "hostIPs": [{"ip": ip} for ip in facts.host_ips]}
    if facts.pod_ips:
        status |= {"podIP": facts.pod_ips[0], "podIPs": [{"ip": ip} for ip in facts.pod_ips]}
    status["startTime"] = format_time(facts.start_time)
    status["qosClass"] = str(qos_class(pod))
    if init:
        status["initContainerStatuses"] = init
    if main:
        status["containerStatuses"] = main
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    status["conditions"] = _conditions(pod, facts, phase, init, main)
    return status


def pod_phase(pod: Pod, init: Sequence[Json], main: Sequence[Json], *, ending: bool) -> str:
    """The phase by the containers' states. Source: upstream getPhase."""
    sidecars = {each.name for each in pod.spec.init_containers if each.is_sidecar}
    begun = any("running" in each["state"] or "terminated" in each["state"] for each in main)
    for status in init:
        if status["name"] in sidecars:
            never_ran = not status.get("started") and "waiting" in status["state"] and not status["lastState"]
            if never_ran and not begun:
                return "Failed" if ending else "Pending"
            continue
        ended = status["state"].get("terminated") or status["lastState"].get("terminated")
        if "terminated" in status["state"] and ended["exitCode"] == 0:
            continue
        failed = ended is not None and ended["exitCode"] != 0
        if failed and (pod.spec.restart_policy == "Never" or ending):
            return "Failed"
        if not begun:
            return "Failed" if ending else "Pending"
    running = stopped = succeeded = waiting = 0
    restarts = False
    for status, container in zip(main, pod.spec.containers, strict=True):
        if "running" in status["state"]:
            running += 1
        elif "terminated" in status["state"] or "terminated" in status["lastState"]:
            ended = status["state"].get("terminated") or status["lastState"]["terminated"]
            stopped += 1
            succeeded += "terminated" in status["state"] and ended["exitCode"] == 0
            policy = policy_of(pod, container)
            restarts |= policy == "Always" or (policy == "OnFailure" and ended["exitCode"] != 0)
        else:
            waiting += 1
    if waiting:
        return "Failed" if ending else "Pending"
    if running:
        return "Running"
    if stopped == succeeded and (ending or not restarts):
        return "Succeeded"
    return "Running" if restarts and not ending else "Failed"


def _container_status(pod: Pod, container: Container, facts: Facts, *, init: bool, ephemeral: bool = False) -> Json:
    name = container.name
    records = facts.state.all_of(name)
    newest = records[0] if records else None
    old = _old_status(pod, name)
    state, last = _states(pod, container, records, facts, init=init, old=old)
    restarts = newest.attempt if newest else int(old.get("restartCount", 0))
    running = newest is not None and newest.state is State.RUNNING
    started = running and newest is not None and newest.id in facts.started
    once = init and not container.is_sidecar  # It has done its work when it has ended well, and not before.
    done = once and state.get("terminated", {}).get("exitCode") == 0
    result: Json = {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": done if once else started and newest is not None and newest.id in facts.ready,
        "restartCount": max(restarts, 0),
        "image": _image_name(container, newest),
        "imageID": newest.image_id if newest else str(old.get("imageID", "")),
        "started": started,
    }
    if newest is not None:
        result["containerID"] = f"{facts.runtime_name}://{newest.id}"
    elif old.get("containerID"):
        result["containerID"] = old["containerID"]
    if ephemeral:
        del result["started"]
    resources = facts.applied.get(newest.id, container.resources) if newest is not None else container.resources
    if resources.requests or resources.limits:
        amounts = {"limits": resources.limits, "requests": resources.requests}
        result["resources"] = {field: dict(value) for field, value in amounts.items() if value}
        if resources.requests:
            result["allocatedResources"] = dict(resources.requests)
    mounts = [
        {"name": mount.name, "mountPath": mount.mount_path}
        | ({"readOnly": True, "recursiveReadOnly": mount.recursive_read_only or "Disabled"} if mount.read_only else {})
        for mount in container.volume_mounts
    ]
    if mounts:
        result["volumeMounts"] = mounts
    return result


def _image_name(container: Container, record: cri.Container | None) -> str:
    """The runtime's name for the image unless that is a bare digest."""
    if record is None or not record.image or record.image.startswith("sha256:"):
        return container.image
    return record.image


def _old_status(pod: Pod, name: str) -> Json:
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for status in pod.status.get(field) or ():
            if status.get("name") == name:
                return dict(status)
    return {}


def _states(
    pod: Pod, container: Container, records: Sequence[cri.Container], facts: Facts, *, init: bool, old: Json
) -> tuple[Json, Json]:
    """(state, lastState)"""
    waiting = facts.waiting.get(container.name)
    previous = next((each for each in records[1:] if each.state is State.EXITED), None)
    last = {"terminated": _terminated(previous, facts)} if previous else {}
    if not records:
        return _without_record(pod, container, facts, waiting, init=init, old=old)
    newest = records[0]
    match newest.state:
        case State.RUNNING:
            return {"running": {"startedAt": format_time(newest.started or newest.created)}}, last
        case State.EXITED:
            ended = {"terminated": _terminated(newest, facts)}
            if waiting is not None and not facts.ending and should_restart(pod, container, newest):
                return {"waiting": _waiting(waiting)}, ended
            return ended, last
        case State.CREATED:
            return {"waiting": _waiting(waiting or Waiting(*CREATING))}, last
    return {"waiting": _waiting(waiting or Waiting("ContainerStatusUnknown"))}, last


def _without_record(
    pod: Pod, container: Container, facts: Facts, waiting: Waiting | None, *, init: bool, old: Json
) -> tuple[Json, Json]:
    """What was last reported stands for a container that the runtime no longer knows."""
    before = old.get("state") or {}
    if "terminated" in before and (facts.ending or pod.is_finished or init):
        return before, old.get("lastState") or {}
    if "running" in before:
        lost = {
            "exitCode": UNKNOWN_EXIT,
            "reason": "ContainerStatusUnknown",
            "message": "The container could not be located when the pod was terminated",
            "startedAt": None,
            "finishedAt": None,
        }
        if facts.ending:
            return {"terminated": lost}, {}
        return {"waiting": _waiting(waiting or _default_waiting(pod, facts, init=init))}, {"terminated": lost}
    if facts.ending and not waiting and "waiting" not in before:
        return {"waiting": _waiting(_default_waiting(pod, facts, init=init))}, {}
    last = {"terminated": before["terminated"]} if "terminated" in before else old.get("lastState") or {}
    return {"waiting": _waiting(waiting or _default_waiting(pod, facts, init=init))}, last


def _default_waiting(pod: Pod, facts: Facts, *, init: bool) -> Waiting:
    if not pod.spec.init_containers:
        return Waiting(*CREATING)
    through = all(_is_through(each, facts) for each in pod.spec.init_containers)
    return Waiting(*(CREATING if through and not init else INITIALIZING))


def _is_through(container: Container, facts: Facts) -> bool:
    record = facts.state.current(container.name)
    if record is None:
        return False
    if container.is_sidecar:
        return record.id in facts.started
    return record.state is State.EXITED and record.exit_code == 0


def _waiting(waiting: Waiting) -> Json:
    return {"reason": waiting.reason} | ({"message": waiting.message} if waiting.message else {})


def _terminated(record: cri.Container, facts: Facts) -> Json:
    reason = record.reason or ("Completed" if record.exit_code == 0 else "Error")
    result: Json = {
        "exitCode": record.exit_code,
        "reason": reason,
        "startedAt": format_time(record.started) if record.started else None,
        "finishedAt": format_time(record.finished) if record.finished else None,
        "containerID": f"{facts.runtime_name}://{record.id}",
    }
    message = facts.messages.get(record.id) or record.message
    if message:
        result["message"] = message
    return result


# Conditions.


def _conditions(pod: Pod, facts: Facts, phase: str, init: Sequence[Json], main: Sequence[Json]) -> list[Json]:
    sandbox = facts.state.sandbox
    has_network = sandbox is not None and sandbox.ready and (pod.spec.host_network or bool(facts.pod_ips))
    through = _initialized(pod, phase, init, main)
    containers = _containers_ready(pod, phase, main, init)
    wanted = [
        _condition("PodReadyToStartContainers", has_network),
        through,
        _ready(pod, containers),
        {**containers, "type": "ContainersReady"},
        _condition("PodScheduled", True),
    ]
    if facts.verdict and facts.verdict.disruption:
        wanted.insert(0, _condition("DisruptionTarget", True, "TerminationByKubelet", facts.verdict.message))
    if facts.pending_resize is not None:
        pending = facts.pending_resize
        wanted.append(_condition(RESIZE_PENDING, True, pending.reason, pending.message))
    now = format_time(facts.now)
    before = {each.get("type"): each for each in pod.status.get("conditions") or ()}
    for condition in wanted:
        old = before.get(condition["type"], {})
        same = old.get("status") == condition["status"]
        condition["lastTransitionTime"] = old.get("lastTransitionTime") or now if same else now
        condition["lastProbeTime"] = None
        if pod.metadata.generation:
            condition["observedGeneration"] = pod.metadata.generation
    return wanted


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Json:
    condition: Json = {"type": kind, "status": "True" if holds else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _initialized(pod: Pod, phase: str, init: Sequence[Json], main: Sequence[Json]) -> Json:
    sidecars = {each.name for each in pod.spec.init_containers if each.is_sidecar}
    # Once a main container has run, initialization is history.
    if any("waiting" not in each["state"] or each["lastState"] for each in main):
        init = ()
    incomplete = [
        each["name"] for each in init if not (each.get("started") if each["name"] in sidecars else each["ready"])
    ]
    if phase == "Succeeded":
        return _condition("Initialized", True, "PodCompleted")
    if incomplete:
        words = f"containers with incomplete status: [{' '.join(incomplete)}]"
        return _condition("Initialized", False, "ContainersNotInitialized", words)
    return _condition("Initialized", True)


def _containers_ready(pod: Pod, phase: str, main: Sequence[Json], init: Sequence[Json]) -> Json:
    if phase == "Succeeded":
        return _condition("ContainersReady", False, "PodCompleted")
    if phase == "Failed":
        return _condition("ContainersReady", False, "PodFailed")
    sidecars = {each.name for each in pod.spec.init_containers if each.is_sidecar}
    counted = [*(each for each in init if each["name"] in sidecars), *main]
    unready = [each["name"] for each in counted if not each["ready"]]
    if unready:
        words = f"containers with unready status: [{' '.join(unready)}]"
        return _condition("ContainersReady", False, "ContainersNotReady", words)
    return _condition("ContainersReady", True)


def _ready(pod: Pod, containers: Json) -> Json:
    if containers["status"] != "True":
        return {**containers, "type": "Ready"}
    statuses = {each.get("type"): each.get("status") for each in pod.status.get("conditions") or ()}
    complaints = []
    for gate in pod.spec.readiness_gates:
        kind = gate.condition_type
        if kind not in statuses:
            complaints.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif statuses[kind] != "True":
            complaints.append(f'the status of pod readiness gate "{kind}" is not "True", but {statuses[kind]}')
    if complaints:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(complaints))
    return _condition("Ready", True)


# Writing only what changed.


def status_patch(before: Json, after: Json) -> Json:
    """The strategic merge patch of the status from `before` to `after`; empty when nothing differs.

    Conditions are merged by type, so those that others own are left alone.
    """
    patch: Json = {}
    for field, value in after.items():
        if field == "conditions":
            known = {each.get("type"): each for each in before.get("conditions") or ()}
            changed = [each for each in value if _lean(each) != _lean(known.get(each["type"], {}))]
            # Where there is nothing to wait for, the condition is not there.
            if RESIZE_PENDING in known and not any(each["type"] == RESIZE_PENDING for each in value):
                changed.append({"$patch": "delete", "type": RESIZE_PENDING})
            if changed:
                patch["conditions"] = [_whole(each) for each in changed]
        elif _lean(value) != _lean(before.get(field)):
            # Merged by address, old addresses would stay.
            patch[field] = [{"$patch": "replace"}, *value] if field == "podIPs" else value
    for field in ("reason", "message", "podIP", "podIPs"):
        if before.get(field) and field not in after:
            patch[field] = [{"$patch": "replace"}] if field == "podIPs" else None
    return patch


def _whole(condition: Json) -> Json:
    """With nulls for what an earlier form of the condition may have said."""
    return condition if "$patch" in condition else {"reason": None, "message": None, **condition}


def _lean(value: object) -> object:
    """Without nulls and empties, which the server may leave out."""
    if isinstance(value, dict):
        lean = {key: _lean(inner) for key, inner in value.items()}
        return {key: inner for key, inner in lean.items() if inner not in (None, {}, [])}
    return [_lean(inner) for inner in value] if isinstance(value, list) else value
