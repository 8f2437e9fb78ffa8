"""A pod's quality-of-service class, and what follows from it for cgroups and the OOM killer."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from kobune.api.quantity import cpu_millicores, parse_quantity, to_bytes
from kobune.node.kubelet.pod import Container, Pod, ResourceList, Resources
from kobune.node.runtime.runtime import LinuxResources

# Source: upstream pkg/kubelet/qos/policy.go.
GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE = -997, 1000
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000

# Source: upstream pkg/kubelet/cm/helpers_linux.go.
MIN_SHARES, MAX_SHARES, SHARES_PER_CPU = 2, 262144, 1024
PERIOD_US, MIN_QUOTA_US = 100_000, 1000


class QoS(StrEnum):
    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


def qos_class(pod: Pod) -> QoS:
    """The class by cpu and memory of init and regular containers, or of the pod where it states its own resources."""
    given = pod.status.get("qosClass")
    if given:
        return QoS(given)  # It never changes once the API server has set it.
    if pod.spec.resources is not None and (pod.spec.resources.requests or pod.spec.resources.limits):
        return _class_of([pod.spec.resources])
    return _class_of(each.resources for each in (*pod.spec.init_containers, *pod.spec.containers))


def _class_of(resources: Iterable[Resources]) -> QoS:
    requests: dict[str, object] = {}
    limits: dict[str, object] = {}
    guaranteed = True
    for each in resources:
        positive = {name for name in ("cpu", "memory") if _amount(each.limits, name)}
        for name in ("cpu", "memory"):
            if _amount(each.requests, name):
                requests[name] = True
                guaranteed = guaranteed and parse_quantity(each.requests[name]) == parse_quantity(
                    each.limits.get(name, 0)
                )
            if name in positive:
                limits[name] = True
        guaranteed = guaranteed and len(positive) == 2
    if not requests and not limits:
        return QoS.BEST_EFFORT
    return QoS.GUARANTEED if guaranteed else QoS.BURSTABLE


def _amount(resources: ResourceList, name: str) -> bool:
    return name in resources and parse_quantity(resources[name]) > 0


def is_critical(pod: Pod) -> bool:
    """Static, mirror and system-critical pods, which are neither evicted nor refused for want of room."""
    return pod.is_static or pod.is_mirror or pod.spec.priority >= SYSTEM_CRITICAL_PRIORITY


def oom_score_adj(pod: Pod, container: Container, memory_capacity_bytes: int) -> int:
    """How readily the kernel kills the container: the more it asked for, the later. Source: upstream qos policy."""
    if is_critical(pod):
        return GUARANTEED_OOM_SCORE
    match qos_class(pod):
        case QoS.GUARANTEED:
            return GUARANTEED_OOM_SCORE
        case QoS.BEST_EFFORT:
            return BEST_EFFORT_OOM_SCORE
    asked = to_bytes(container.resources.requests.get("memory", 0))
    score = 1000 - 1000 * asked // max(1, memory_capacity_bytes)
    return min(max(score, 1000 + GUARANTEED_OOM_SCORE), BEST_EFFORT_OOM_SCORE - 1)


def cpu_shares(millicores: int) -> int:
    """cgroup v1 shares for a cpu request; no request gets the least."""
    return min(max(millicores * SHARES_PER_CPU // 1000, MIN_SHARES), MAX_SHARES)


def cpu_quota_us(millicores: int, ceiling: int = 0) -> int:
    """Microseconds per period for a cpu limit; 0 is no limit.

    Args:
        ceiling: of the group above, in millicores; 0: it has none. Version 1 refuses a quota beyond it.
    """
    if ceiling:
        millicores = min(millicores, ceiling)
    return max(millicores * PERIOD_US // 1000, MIN_QUOTA_US) if millicores else 0


def linux_resources(resources: Resources, *, oom_score: int = 0, cpu_ceiling: int = 0) -> LinuxResources:
    """The cgroup settings of one container. A limit without a request counts as the request."""
    limit = cpu_millicores(resources.limits.get("cpu", 0))
    request = cpu_millicores(resources.requests["cpu"]) if "cpu" in resources.requests else limit
    return LinuxResources(
        cpu_shares=cpu_shares(request),
        cpu_quota_us=cpu_quota_us(limit, cpu_ceiling),
        cpu_period_us=PERIOD_US,
        memory_limit_bytes=to_bytes(resources.limits.get("memory", 0)),
        oom_score_adj=oom_score,
    )


class Requests(NamedTuple):
    """What a pod counts for on its node."""

    cpu_millicores: int
    memory_bytes: int
    ephemeral_bytes: int


def pod_requests(pod: Pod) -> Requests:
    """Containers and sidecars together, or the largest init container with the sidecars started before it, whichever is
    more; plus overhead."""
    cpu = _effective(pod, "cpu", millis=True)
    return Requests(cpu, _effective(pod, "memory"), _effective(pod, "ephemeral-storage"))


def pod_limits(pod: Pod) -> tuple[int, int]:
    """(cpu millicores, memory bytes) all containers together may use; 0 where any of them has no limit."""
    cpu, memory = 0, 0
    every = [each for each in pod.spec.init_containers if each.is_sidecar] + pod.spec.containers
    if all("cpu" in each.resources.limits for each in every):
        cpu = sum(cpu_millicores(each.resources.limits["cpu"]) for each in every)
        one_by_one = [cpu_millicores(each.resources.limits.get("cpu", 0)) for each in pod.spec.init_containers]
        cpu = max(cpu, *one_by_one) if one_by_one else cpu
    if all("memory" in each.resources.limits for each in every):
        memory = sum(to_bytes(each.resources.limits["memory"]) for each in every)
        one_by_one = [to_bytes(each.resources.limits.get("memory", 0)) for each in pod.spec.init_containers]
        memory = max(memory, *one_by_one) if one_by_one else memory
    return cpu, memory


def _effective(pod: Pod, name: str, *, millis: bool = False) -> int:
    read = cpu_millicores if millis else to_bytes
    if pod.spec.resources is not None and name in pod.spec.resources.requests:
        return read(pod.spec.resources.requests[name]) + read(pod.spec.overhead.get(name, 0))
    regular = sum(read(each.resources.requests.get(name, 0)) for each in pod.spec.containers)
    sidecars, peak = 0, 0
    for each in pod.spec.init_containers:
        amount = read(each.resources.requests.get(name, 0))
        if each.is_sidecar:
            sidecars += amount
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + amount)
    return max(regular + sidecars, peak) + read(pod.spec.overhead.get(name, 0))
