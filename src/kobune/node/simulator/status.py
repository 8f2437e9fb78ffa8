"""The status a simulated kubelet reports, as upstream's would look; nothing is decided here."""

import hashlib
from datetime import datetime
from functools import lru_cache

from kobune.api.errors import Json
from kobune.api.timestamps import format_time
from kobune.node.simulator.life import Life
from kobune.node.simulator.plan import Act
from kobune.node.simulator.views import SimContainer, SimPod

TERMINATED = 143  # The exit code of a process that ends by SIGTERM.
MESSAGES = {
    "ImagePullBackOff": "Back-off pulling image",
    "ErrImagePull": "failed to pull image",
    "CrashLoopBackOff": "back-off restarting failed container",
}


def pod_status(pod: SimPod, act: Act, life: Life, now: datetime, *, host_ip: str, pod_ip: str, ready: bool) -> Json:
    """The fields of `status` after `act`, for a merge patch.

    Args:
        ready: whether the containers are ready after this act.
    """
    moment = format_time(now)
    since = format_time(pod.status.start_time) if pod.status.start_time else moment
    states = [_container(pod, number, act, life, moment, ready) for number in range(len(pod.spec.containers))]
    ended = "Failed" if life.exit_code else "Succeeded"
    phase = {Act.FAIL_START: "Pending", Act.EXIT: ended, Act.KILL: "Failed"}.get(act, "Running")
    finished = act in (Act.EXIT, Act.KILL)
    not_ready = "PodCompleted" if phase == "Succeeded" else "PodFailed" if finished else "ContainersNotReady"
    status: Json = {
        "phase": phase,
        "conditions": [
            _condition("PodReadyToStartContainers", not finished, moment if finished else since),
            _condition("Initialized", True, since, "PodCompleted" if not_ready == "PodCompleted" else ""),
            _condition("Ready", ready, moment, not_ready, _unready(pod, finished)),
            _condition("ContainersReady", ready, moment, not_ready, _unready(pod, finished)),
            _condition("PodScheduled", True, since),
        ],
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "containerStatuses": states,
    }
    if pod.status.start_time is None:
        status["startTime"] = moment
    if act is not Act.FAIL_START and pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    if pod.spec.init_containers:
        status["initContainerStatuses"] = [_init(pod, each, moment) for each in pod.spec.init_containers]
    return status


def container_id(pod: SimPod, name: str, restarts: int) -> str:
    """The same for the same container, run by run."""
    return f"simulated://{pod.metadata.uid.replace('-', '')}{_run(name, restarts)}"


@lru_cache(maxsize=256)  # Containers of many pods have the same names.
def _run(name: str, restarts: int) -> str:
    """As many digits as a uid has."""
    return hashlib.sha256(f"{name}/{restarts}".encode()).hexdigest()[:32]


@lru_cache(maxsize=256)  # Many pods have the same image.
def image_id(image: str) -> str:
    return f"{image.partition('@')[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def _container(pod: SimPod, number: int, act: Act, life: Life, moment: str, ready: bool) -> Json:
    container = pod.spec.containers[number]
    before = pod.status.container_statuses[number] if number < len(pod.status.container_statuses) else None
    restarts = before.restart_count if before else 0
    began = before.state.running.started_at if before and before.state.running else None
    status: Json = {
        "name": container.name,
        "image": container.image,
        "ready": ready,
        "started": act in (Act.RUN, Act.READY, Act.RESTART),
        "restartCount": restarts + 1 if act is Act.RESTART else restarts,
    }
    if act is Act.FAIL_START:
        message = life.failure_message or f"{MESSAGES.get(life.failure, 'cannot start container')} {container.image!r}"
        return status | {
            "imageID": "",
            "lastState": {},
            "state": {"waiting": {"reason": life.failure, "message": message}},
        }
    status["imageID"] = image_id(container.image)
    status["containerID"] = container_id(pod, container.name, status["restartCount"])
    if act in (Act.RUN, Act.RESTART):
        status["state"] = {"running": {"startedAt": moment}}
    elif act is Act.READY:
        status["state"] = {"running": {"startedAt": format_time(began) if began else moment}}
    if act in (Act.EXIT, Act.CRASH, Act.KILL):
        code = TERMINATED if act is Act.KILL else life.exit_code
        terminated = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": format_time(began) if began else moment,
            "finishedAt": moment,
            "containerID": status["containerID"],
        }
        if act is not Act.CRASH:
            status["state"] = {"terminated": terminated}
        else:
            waiting = {
                "reason": "CrashLoopBackOff",
                "message": f"{MESSAGES['CrashLoopBackOff']}={container.name} pod={pod.name}_{pod.namespace}",
            }
            status |= {"state": {"waiting": waiting}, "lastState": {"terminated": terminated}}
    return status


def _init(pod: SimPod, container: SimContainer, moment: str) -> Json:
    sidecar = container.restart_policy == "Always"
    identity = container_id(pod, container.name, 0)
    done = {"exitCode": 0, "reason": "Completed", "startedAt": moment, "finishedAt": moment, "containerID": identity}
    return {
        "name": container.name,
        "image": container.image,
        "imageID": image_id(container.image),
        "containerID": identity,
        "ready": True,
        "started": sidecar,
        "restartCount": 0,
        "lastState": {},
        "state": {"running": {"startedAt": moment}} if sidecar else {"terminated": done},
    }


def _unready(pod: SimPod, finished: bool) -> str:
    if finished:
        return ""
    return f"containers with unready status: [{' '.join(each.name for each in pod.spec.containers)}]"


def _condition(kind: str, good: bool, moment: str, reason: str = "", message: str = "") -> Json:
    condition = {
        "type": kind,
        "status": "True" if good else "False",
        "lastProbeTime": None,
        "lastTransitionTime": moment,
    }
    if reason and (not good or kind == "Initialized"):
        condition |= {"reason": reason, "message": message} if message else {"reason": reason}
    return condition
