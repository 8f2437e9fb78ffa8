"""Whether a pod that was bound here fits: the last check, for what the scheduler could not know. Source: upstream lifecycle."""

from collections.abc import Iterable

from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.qos import Requests, is_critical, pod_requests
from kobune.node.kubelet.status import Verdict

NAMES = ("cpu", "memory", "ephemeral-storage")


def refuse(pod: Pod, others: Iterable[Requests], config: KubeletConfig) -> Verdict | None:
    """Why the pod may not run here beside the others; None when it may.

    Args:
        others: what each pod that is here already counts for, as `qos.pod_requests` gives it.

    Critical pods are let in: others make room for them.
    """
    if is_critical(pod):
        return None
    others = list(others)
    if len(others) + 1 > config.max_pods:
        return _verdict("pods", 1, len(others), config.max_pods)
    room = config.allocatable()
    allocatable = (room.cpu_millicores, room.memory_bytes, room.ephemeral_bytes)
    wanted = pod_requests(pod)
    used = [0, 0, 0]
    for other in others:
        used = [total + amount for total, amount in zip(used, other, strict=True)]
    for name, amount, taken, most in zip(NAMES, wanted, used, allocatable, strict=True):
        if amount and taken + amount > most:
            return _verdict(name, amount, taken, most)
    return None


def _verdict(resource: str, requested: int, used: int, capacity: int) -> Verdict:
    words = (
        "Pod was rejected: Node didn't have enough resource: "
        f"{resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    )
    return Verdict(f"OutOf{resource}", words)
