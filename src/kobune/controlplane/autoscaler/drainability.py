"""Which pods keep their node. Source: upstream cluster-autoscaler, simulator/drainability rules, and its FAQ."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from kobune.api.objects.policy import PodDisruptionBudget
from kobune.api.objects.scheduling import Pod
from kobune.api.selectors import labels_from_json
from kobune.controlplane.autoscaler.model import Settings

SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
SAFE_VOLUMES = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
EVICT_DAEMON = "cluster-autoscaler.kubernetes.io/enable-ds-eviction"
MIRROR = "kubernetes.io/config.mirror"
LONG_TERMINATING = timedelta(seconds=30)  # After its grace period, a pod that still ends is no longer waited for.


class Blocked(StrEnum):
    """Why a pod may not be moved, under upstream's names."""

    NOT_REPLICATED = "NotReplicated"
    LOCAL_STORAGE = "LocalStorageRequested"
    NOT_SAFE = "NotSafeToEvictAnnotation"
    SYSTEM = "UnmovableKubeSystemPod"
    BUDGET = "NotEnoughPdb"


def stays_behind(pod: Pod, now: datetime) -> bool:
    """Whether the pod goes down with its node, or is ending anyway, and needs no other."""
    if MIRROR in pod.metadata.annotations or pod.is_finished or is_daemon(pod):
        return True
    deleted = pod.metadata.deletion_timestamp
    return deleted is not None and now > deleted + LONG_TERMINATING


def is_daemon(pod: Pod) -> bool:
    owner = pod.metadata.controller
    return owner is not None and owner.kind == "DaemonSet"


def evicts_daemon(pod: Pod, *, by_default: bool) -> bool:
    """Whether a DaemonSet's pod is evicted before its node goes: as it says itself, or as is usual for such nodes."""
    own = pod.metadata.annotations.get(EVICT_DAEMON, "")
    return own == "true" if own in ("true", "false") else by_default


def find_blocking(
    pods: Sequence[Pod], budgets: Sequence[PodDisruptionBudget], settings: Settings
) -> tuple[Pod, Blocked] | None:
    """The first of these pods, which would all have to move, that may not."""
    leaving: Counter[int] = Counter()
    for pod in pods:
        reason = _blocked(pod, budgets, settings)
        if reason is not None:
            return pod, reason
        for number, budget in enumerate(budgets):
            if covers(budget, pod):
                leaving[number] += 1
                if leaving[number] > budget.status.disruptions_allowed:
                    return pod, Blocked.BUDGET
    return None


def _blocked(pod: Pod, budgets: Sequence[PodDisruptionBudget], settings: Settings) -> Blocked | None:
    safe = pod.metadata.annotations.get(SAFE_TO_EVICT)
    if safe == "true":
        return None
    if safe == "false":
        return Blocked.NOT_SAFE
    if pod.metadata.controller is None:
        return Blocked.NOT_REPLICATED
    is_system = pod.metadata.namespace == "kube-system"
    if settings.skip_nodes_with_system_pods and is_system and not any(covers(budget, pod) for budget in budgets):
        return Blocked.SYSTEM
    if settings.skip_nodes_with_local_storage and _has_local_storage(pod):
        return Blocked.LOCAL_STORAGE
    return None


def covers(budget: PodDisruptionBudget, pod: Pod) -> bool:
    """Whether the budget counts the pod."""
    if budget.metadata.namespace != pod.metadata.namespace or budget.spec.selector is None:
        return False
    return labels_from_json(budget.spec.selector).matches(pod.metadata.labels)


def _has_local_storage(pod: Pod) -> bool:
    safe = {name.strip() for name in pod.metadata.annotations.get(SAFE_VOLUMES, "").split(",")}
    return any(
        (volume.host_path is not None or (volume.empty_dir is not None and volume.empty_dir.get("medium") != "Memory"))
        and volume.name not in safe
        for volume in pod.spec.volumes
    )
