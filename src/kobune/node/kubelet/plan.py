"""What a pod needs next, judged from its spec and what the runtime has. Source: upstream computePodActions."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from kobune.node.kubelet.backoff import BackOff
from kobune.node.kubelet.pod import Container, Pod
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.runtime import runtime as cri
from kobune.node.runtime.runtime import State

CONTAINER_HASH = "io.kubernetes.container.hash"


class Kill(NamedTuple):
    """A container to end."""

    container: cri.Container
    message: str  # For its Killing event.
    why: str = ""  # "liveness" or "startup" when a probe condemned it.


class Resting(NamedTuple):
    """A container in CrashLoopBackOff."""

    until: datetime
    pause_seconds: float


class Plan(NamedTuple):
    """One step. With `finished` nothing will run again; otherwise kill, then replace the sandbox, then start."""

    finished: bool = False
    stop_sandboxes: Sequence[str] = ()  # Sandboxes (with all inside) that must go.
    create_sandbox: bool = False
    attempt: int = 0  # Of the sandbox to create.
    kill: Sequence[Kill] = ()
    start: Sequence[Container] = ()  # In this order.
    resting: Mapping[str, Resting] = {}


class Condemned(NamedTuple):
    """Containers whose probes have failed, by container id."""

    liveness: frozenset[str] = frozenset()
    startup: frozenset[str] = frozenset()


def plan_pod(
    pod: Pod,
    state: PodState,
    *,
    backoff: BackOff,
    condemned: Condemned,
    started: frozenset[str],
    now: datetime,
) -> Plan:
    """The pod's next step.

    Args:
        started: ids of running containers that have passed their startup probe (or have none).
        backoff: pauses by container name; only read here, the caller notes attempts.
    """
    sandbox = state.sandbox
    ready = [each for each in state.sandboxes if each.ready]
    if sandbox is None or not sandbox.ready or len(ready) > 1:
        return _with_new_sandbox(pod, state)
    resting: dict[str, Resting] = {}
    kills: list[Kill] = []
    starts: list[Container] = [each for each in pod.spec.ephemeral_containers if state.newest(each.name) is None]

    def start(container: Container, after: cri.Container | None) -> None:
        until = _rest_until(container, after, backoff)
        if until is None or until <= now:
            starts.append(container)
        else:
            resting[container.name] = Resting(until, backoff.pause(container.name))

    initialized, failed = _plan_init(pod, state, kills, start, condemned, started)
    if failed:
        return Plan(finished=True)
    if not initialized:
        return Plan(kill=kills, start=starts, resting=resting)
    keep = 0
    for container in pod.spec.containers:
        current = state.current(container.name)
        if current is None or current.state is not State.RUNNING:
            if should_restart(pod, container, current):
                if current is not None and current.state is State.UNKNOWN:
                    kills.append(Kill(current, f"Container {container.name} is in unknown state"))
                start(container, current)
            continue
        verdict = _verdict(container, current, condemned)
        if verdict is None:
            keep += 1
            continue
        message, why = verdict
        restarts = why == "" or policy_of(pod, container) != "Never"
        kills.append(Kill(current, f"{message}, will be restarted" if restarts else message, why))
        keep += 1  # It counts until it has ended; its exit wakes us again.
    main = {container.name for container in pod.spec.containers}
    if keep == 0 and not main & ({each.name for each in starts} | set(resting)):
        return Plan(finished=True)
    return Plan(kill=kills, start=starts, resting=resting)


def _with_new_sandbox(pod: Pod, state: PodState) -> Plan:
    sandbox = state.sandbox
    attempt = sandbox.attempt + 1 if sandbox is not None else 0
    old = [each.id for each in state.sandboxes]
    if attempt and state.containers and pod.spec.restart_policy == "Never":
        return Plan(finished=True)
    to_start = [each for each in pod.spec.containers if should_restart(pod, each, state.newest(each.name))]
    if not to_start:
        return Plan(finished=True)
    first = pod.spec.init_containers[:1] or to_start
    return Plan(stop_sandboxes=old, create_sandbox=True, attempt=attempt, start=first)


def _plan_init(
    pod: Pod,
    state: PodState,
    kills: list[Kill],
    start: "_Start",
    condemned: Condemned,
    started: frozenset[str],
) -> tuple[bool, bool]:
    """(all init containers are through, one has failed for good). Sidecars are kept running throughout."""
    begun = any(state.current(each.name) is not None for each in pod.spec.containers)
    for number, container in enumerate(pod.spec.init_containers):
        current = state.current(container.name)
        later = begun or any(state.current(each.name) for each in pod.spec.init_containers[number + 1 :])
        if current is None:
            if later and not container.is_sidecar:
                continue  # Its record has been cleaned up; what came after it ran.
            start(container, None)
            if not later:
                return False, False
        elif container.is_sidecar:
            if current.state is State.RUNNING:
                verdict = _verdict(container, current, condemned)
                if verdict is not None:
                    kills.append(Kill(current, f"{verdict[0]}, will be restarted", verdict[1]))
                elif current.id not in started and not later:
                    return False, False
            else:
                start(container, current)
                if not later:
                    return False, False
        elif current.state is State.RUNNING:
            if current.id in condemned.liveness | condemned.startup:
                kills.append(Kill(current, f"Init container {container.name} failed its probe"))
            return False, False
        elif begun or (current.state is State.EXITED and current.exit_code == 0):
            continue
        elif should_restart(pod, container, current):
            start(container, current)
            return False, False
        else:
            return False, True
    return True, False


class _Start(Protocol):
    """The shape of the function that plans a start."""

    def __call__(self, container: Container, after: cri.Container | None) -> None: ...


def should_restart(pod: Pod, container: Container, last: cri.Container | None) -> bool:
    """Whether a container that is not running shall run (again)."""
    if last is None or last.state is not State.EXITED:
        return True
    for rule in container.restart_policy_rules:
        if rule.exit_codes is not None:
            listed = last.exit_code in rule.exit_codes.values
            if listed == (rule.exit_codes.operator == "In"):
                return True
    policy = policy_of(pod, container)
    return policy == "Always" or (policy == "OnFailure" and last.exit_code != 0)


def policy_of(pod: Pod, container: Container) -> str:
    """The restart policy that holds for the container; init containers are never restarted after success."""
    if container.restart_policy:
        return container.restart_policy
    if any(each is container for each in pod.spec.init_containers) and pod.spec.restart_policy == "Always":
        return "OnFailure"
    return pod.spec.restart_policy


def container_hash(container: Container) -> str:
    """Changes when a running container no longer fits its spec: only the image may be changed in place."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:8]


def _verdict(container: Container, current: cri.Container, condemned: Condemned) -> tuple[str, str] | None:
    known = current.annotations.get(CONTAINER_HASH)
    if known is not None and known != container_hash(container):
        return f"Container {container.name} definition changed", ""
    if current.id in condemned.liveness:
        return f"Container {container.name} failed liveness probe", "liveness"
    if current.id in condemned.startup:
        return f"Container {container.name} failed startup probe", "startup"
    return None


def _rest_until(container: Container, last: cri.Container | None, backoff: BackOff) -> datetime | None:
    if last is None or last.finished is None:
        return None
    failed_at = last.finished.timestamp()
    return last.finished + timedelta(seconds=backoff.until(container.name, failed_at) - failed_at)
