"""From a pod to what the runtime is asked for: the sandbox and each container."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.dns import Resolver, pod_hostname
from kobune.node.kubelet.environment import expand
from kobune.node.kubelet.plan import CONTAINER_HASH, container_hash
from kobune.node.kubelet.pod import Container, Handler, Pod
from kobune.node.kubelet.qos import QoS, linux_resources, oom_score_adj, qos_class
from kobune.node.kubelet.runtime_state import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID
from kobune.node.kubelet.security import security_context
from kobune.node.runtime.runtime import ContainerSpec, Image, Mount, PortMapping, SandboxSpec

RESTART_COUNT = "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
PRE_STOP = "io.kubernetes.container.preStopHandler"
POD_GRACE = "io.kubernetes.pod.terminationGracePeriod"
DEFAULT_GRACE_SECONDS = 30


def cgroup_parent(pod: Pod, root: str) -> str:
    """The pod's cgroup below `root`, laid out as upstream's cgroupfs driver does."""
    qos = qos_class(pod)
    tier = "" if qos is QoS.GUARANTEED else f"/{qos.lower()}"
    return f"{root.rstrip('/')}/kubepods{tier}/pod{pod.uid}"


def log_directory(pod: Pod, config: KubeletConfig) -> Path:
    return config.logs_dir / f"{pod.namespace}_{pod.name}_{pod.uid}"


def pod_labels(pod: Pod) -> dict[str, str]:
    return {POD_NAME: pod.name, POD_NAMESPACE: pod.namespace, POD_UID: pod.uid}


def sandbox_spec(pod: Pod, config: KubeletConfig, resolver: Resolver, *, attempt: int) -> SandboxSpec:
    """The sandbox of the pod."""
    spec, security = pod.spec, pod.spec.security_context
    hostname = "" if spec.host_network else pod_hostname(pod, config.cluster_domain).shown
    ports = [
        PortMapping(port.container_port, port.host_port, port.protocol, port.host_ip)
        for container in (*spec.init_containers, *spec.containers)
        for port in container.ports
        if port.host_port and not spec.host_network
    ]
    return SandboxSpec(
        name=pod.name,
        namespace=pod.namespace,
        uid=pod.uid,
        attempt=attempt,
        hostname=hostname,
        log_directory=log_directory(pod, config),
        cgroup_parent=cgroup_parent(pod, config.cgroup_root),
        host_network=spec.host_network,
        host_pid=spec.host_pid,
        host_ipc=spec.host_ipc,
        share_process_namespace=spec.share_process_namespace,
        dns_servers=resolver.servers,
        dns_searches=resolver.searches,
        dns_options=resolver.options,
        port_mappings=ports,
        privileged=any(each.security_context and each.security_context.privileged for each in pod.all_containers()),
        sysctls={each.name: each.value for each in security.sysctls} if security else {},
        run_as_user=security.run_as_user if security else None,
        run_as_group=security.run_as_group if security and security.run_as_user is not None else None,
        supplemental_groups=security.supplemental_groups if security else (),
        labels={**pod.metadata.labels, **pod_labels(pod)},
        annotations=pod.metadata.annotations,
    )


def container_spec(
    pod: Pod,
    container: Container,
    config: KubeletConfig,
    *,
    image: Image,
    attempt: int,
    env: Mapping[str, str],
    mounts: Sequence[Mount],
) -> ContainerSpec:
    """The container, with `$(VAR)` in command and args replaced.

    Raises:
        ConfigError: the image's user breaks runAsNonRoot.
    """
    score = oom_score_adj(pod, container, config.capacity.memory_bytes)
    if config.restrict_oom_score_adj is not None:
        score = max(score, config.restrict_oom_score_adj)
    annotations = {
        CONTAINER_HASH: container_hash(container),
        RESTART_COUNT: str(attempt),
        MESSAGE_PATH: container.termination_message_path,
        MESSAGE_POLICY: container.termination_message_policy,
        POD_GRACE: str(pod.spec.termination_grace_period_seconds),
    }
    if container.lifecycle and container.lifecycle.pre_stop:
        # So that a pod deleted while no kubelet ran still gets its hook.
        annotations[PRE_STOP] = msgspec.json.encode(container.lifecycle.pre_stop).decode()
    return ContainerSpec(
        name=container.name,
        image=image.id,
        user_image=container.image,
        attempt=attempt,
        command=[expand(word, env) for word in container.command],
        args=[expand(word, env) for word in container.args],
        working_dir=container.working_dir,
        env=env,
        mounts=mounts,
        labels={**pod_labels(pod), CONTAINER_NAME: container.name},
        annotations=annotations,
        log_path=f"{container.name}/{attempt}.log",
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        resources=linux_resources(container.resources, oom_score=score, cpu_ceiling=config.cpu_ceiling),
        security=security_context(pod, container, image_user=image.user),
    )


def pre_stop_of(annotations: Mapping[str, str]) -> Handler | None:
    """The hook that a container was made with."""
    text = annotations.get(PRE_STOP)
    return msgspec.json.decode(text, type=Handler, strict=False) if text else None


def grace_of(annotations: Mapping[str, str]) -> int:
    """The grace period, in seconds, of the pod that a container was made for."""
    text = annotations.get(POD_GRACE, "")
    return int(text) if text.isdigit() else DEFAULT_GRACE_SECONDS


def next_attempt(directory: Path) -> int:
    """The attempt after the newest log in a container's log directory, for when the runtime has forgotten all others."""
    try:
        numbers = [int(path.name.split(".")[0]) for path in directory.iterdir() if path.name.split(".")[0].isdigit()]
    except OSError:
        return 0
    return max(numbers) + 1 if numbers else 0
