"""Whether a pod that was bound here fits: the last check, for what the scheduler could not know. Source: upstream lifecycle."""

from collections.abc import Iterable
from typing import NamedTuple

from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.qos import Requests, is_critical, pod_requests
from kobune.node.kubelet.status import Verdict

NAMES = ("cpu", "memory", "ephemeral-storage")
ANY_ADDRESS = frozenset(("", "0.0.0.0"))  # To compare with, not to listen on.
PORTS_TAKEN = "node(s) didn't have free ports for the requested pod ports"


class HostPort(NamedTuple):
    address: str
    protocol: str
    port: int


def refuse(
    pod: Pod, others: Iterable[Requests], config: KubeletConfig, taken: Iterable[HostPort] = ()
) -> Verdict | None:
    """Why the pod may not run here beside the others; None when it may.

    Args:
        others: what each pod that is here already counts for, as `qos.pod_requests` gives it.
        taken: the host ports of the pods that are here.

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
    for name, amount, have, most in zip(NAMES, wanted, used, allocatable, strict=True):
        if amount and have + amount > most:
            return _verdict(name, amount, have, most)
    own = host_ports(pod)
    if own and any(_clash(one, other) for other in taken for one in own):
        return Verdict("NodePorts", f"Pod was rejected: Predicate NodePorts failed: {PORTS_TAKEN}")
    return None


def host_ports(pod: Pod) -> list[HostPort]:
    """The ports of the node that the pod's containers and sidecars want."""
    running = [*pod.spec.containers, *(each for each in pod.spec.init_containers if each.is_sidecar)]
    return [
        HostPort(port.host_ip, port.protocol, port.host_port)
        for each in running
        for port in each.ports
        if port.host_port
    ]


def _clash(one: HostPort, other: HostPort) -> bool:
    same = (one.protocol, one.port) == (other.protocol, other.port)
    return same and (one.address == other.address or bool({one.address, other.address} & ANY_ADDRESS))


def _verdict(resource: str, requested: int, used: int, capacity: int) -> Verdict:
    words = (
        "Pod was rejected: Node didn't have enough resource: "
        f"{resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    )
    return Verdict(f"OutOf{resource}", words)
